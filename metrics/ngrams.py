"""How near a model's predictions are to the text's own n-grams: the first stages of learning a language."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metrics.contract import metric

Logits = Float[Tensor, "batch 1 d_vocab"]


@metric(
    title="Divergence from the text's unigrams",
    unit="nats",
    task="bigrams",
    lower=0.0,
    source="Belrose et al. 2024, 'Neural Networks Learn Statistics of Increasing Complexity'",
    undefined="a logit is not finite",
)
def unigram_kl(logits: Logits, unigrams: tuple[int, ...], unigram_shares: tuple[float, ...]) -> Float[Tensor, " batch"]:
    """How far are the model's predictions from how often each token occurs?

    **Definition.** KL(p || q) = sum p (ln p - ln q), with p the share of each token in the text and q the model's
    prediction after a start token and one token of the text.

    **Reads.** `logits` [batch 1 d_vocab]; `unigrams` and `unigram_shares`, the tokens of the text and their shares.

    **Returns** [batch], nats, >= 0. Uniform predictions give ln(d_vocab) less the entropy of p. It falls first, and
    rises again when the model learns what follows what. NaN where a logit is not finite.

    **Source.** Belrose et al. 2024, divergence from n-gram to model. Departures: one token of context, where the
    paper has all of it; counts from the text measured on, where the paper has its training corpus.

    **Example.** Two of four tokens occur, as often as each other; the model finds all four alike: ln 4 - ln 2.

    >>> unigram_kl(torch.zeros(1, 1, 4), (0, 2), (0.5, 0.5))
    tensor([0.6931])
    """
    shares = torch.tensor(unigram_shares, dtype=torch.float32, device=logits.device)
    predicted = _after_token(logits)[:, list(unigrams)]
    return (torch.xlogy(shares, shares) - shares * predicted).sum(-1)


@metric(
    title="Divergence from the text's bigrams",
    unit="nats",
    task="bigrams",
    lower=0.0,
    source="Belrose et al. 2024, divergence from n-grams; Hoogland et al. 2024, bigram score",
    undefined="a logit is not finite",
)
def bigram_kl(
    logits: Logits, successors: Int[Tensor, "batch most"], successor_shares: Float[Tensor, "batch most"]
) -> Float[Tensor, " batch"]:
    """How far are the model's predictions after a token from what follows that token in the text?

    **Definition.** KL(p || q) = sum p (ln p - ln q), with p the shares of the tokens that follow the present one in
    the text and q the model's prediction after a start token and the present one.

    **Reads.** `logits` [batch 1 d_vocab]; `successors` [batch most] and their shares, padded with shares of 0.

    **Returns** [batch], nats, >= 0. Shares counted in a finite text keep it above 0 even for a model that knows the
    language's bigrams. NaN where a logit is not finite.

    **Source.** Hoogland et al. 2024, whose bigram score is the cross-entropy, this and the bigrams' own entropy
    together; Belrose et al. 2024, divergence from n-gram to model. Departure: counts from the text measured on.

    **Example.** Always the same one of four tokens follows; the model finds all alike: ln 4.

    >>> bigram_kl(torch.zeros(1, 1, 4), torch.tensor([[3, 0]]), torch.tensor([[1.0, 0.0]]))
    tensor([1.3863])
    """
    predicted = _after_token(logits).gather(1, successors)
    return (torch.xlogy(successor_shares, successor_shares) - successor_shares * predicted).sum(-1)


@metric(
    title="Bigram score",
    unit="nats",
    task="bigrams",
    lower=0.0,
    source="Hoogland et al. 2024, 'Loss Landscape Degeneracy and Stagewise Development in Transformers', bigram score",
    undefined="a logit is not finite",
)
def bigram_score(
    logits: Logits, successors: Int[Tensor, "batch most"], successor_shares: Float[Tensor, "batch most"]
) -> Float[Tensor, " batch"]:
    """How well does the model predict what follows a token of the text, given that token alone?

    **Definition.** The cross-entropy -sum p ln q, with p the shares of the tokens that follow the present one in the
    text and q the model's prediction after a start token and the present one.

    **Reads.** `logits` [batch 1 d_vocab]; `successors` [batch most] and their shares, padded with shares of 0.

    **Returns** [batch], nats, at least the entropy of p, which is this less `bigram_kl`. Uniform predictions give
    ln(d_vocab). NaN where a logit is not finite.

    **Source.** Hoogland et al. 2024. Departures: a start token before the present one; tokens are drawn as often as
    they occur, among those with enough successors to count, from the text measured on.

    **Example.** One of two tokens follows, as often as the other; the model finds all four alike: ln 4.

    >>> bigram_score(torch.zeros(1, 1, 4), torch.tensor([[3, 0]]), torch.tensor([[0.5, 0.5]]))
    tensor([1.3863])
    """
    predicted = _after_token(logits).gather(1, successors)
    return -(successor_shares * predicted).sum(-1)


def _after_token(logits: Logits) -> Float[Tensor, "batch d_vocab"]:
    """The model's log-probabilities after the one token that is read."""
    return logits[:, -1].float().log_softmax(-1)
