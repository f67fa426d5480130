"""Unigrams, bigrams, trigrams, 4-grams: which of them a model's predictions are nearest to (Belrose et al. 2024)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metrics.contract import metric

Logits = Float[Tensor, "batch place d_vocab"]
Successors = Int[Tensor, "batch place order most"]
Shares = Float[Tensor, "batch place order most"]

BELROSE = "Belrose et al. 2024, 'Neural Networks Learn Statistics of Increasing Complexity'"
HOOGLAND = "Hoogland et al. 2024, 'Loss Landscape Degeneracy and Stagewise Development in Transformers', n-gram score"
ORDERS = ("unigram", "bigram", "trigram", "4-gram")


@metric(
    title="Divergence from the text's n-grams, in context", unit="nats", task="ngrams", axes=("label",), labels=ORDERS,
    lower=0.0, source=BELROSE, undefined="a logit is not finite",
)  # fmt: skip
def ngram_kl(
    logits: Logits,
    ngram_successors: Successors,
    ngram_shares: Shares,
    unigrams: tuple[int, ...],
    unigram_shares: tuple[float, ...],
) -> Float[Tensor, "batch label"]:
    """With all of its context, is the model near what the last few tokens alone would say?

    **Definition.** mean over the places read of KL(p || q) = sum p (ln p - ln q), with q the model's prediction and p
    the shares of what follows the last n - 1 tokens in the text, for n = 1 to 4.

    **Reads.** `logits` [batch place d_vocab] at eight places of every window; `ngram_successors` [batch place order
    most], what follows the last one, two and three tokens, and their shares, padded with shares of 0; `unigrams` and
    `unigram_shares`, the tokens of the text and their shares.

    **Returns** [batch label], nats, >= 0. A model passes by the n-grams one after the other: each divergence falls and
    then rises as the model goes beyond it, so that its lowest point is a stage. NaN where a logit is not finite.

    **Source.** Belrose et al. 2024, divergence from n-gram to model. Departures: counts from the text measured on,
    where the paper has its training corpus; where the last n - 1 tokens occur fewer than `least` times, p is that of
    the longest shorter context that does not; places whose last token alone is rarer are not read.

    **Example.** One place of a model that finds four tokens alike. Two of them occur, as often as each other, and
    after the last tokens it is always the same one: ln 4 - ln 2, and ln 4.

    >>> always = torch.tensor([3, 3, 3]).view(1, 1, 3, 1)
    >>> ngram_kl(torch.zeros(1, 1, 4), always, torch.ones(1, 1, 3, 1), (2, 3), (0.5, 0.5))
    tensor([[0.6931, 1.3863, 1.3863, 1.3863]])
    """
    crossed = ngram_cross_entropy(logits, ngram_successors, ngram_shares, unigrams, unigram_shares)
    read = ngram_shares.sum(-1)
    own = torch.special.entr(ngram_shares).sum(-1).sum(1) / read.sum(1)
    alone = torch.special.entr(torch.tensor(unigram_shares, device=logits.device)).sum()
    return crossed - torch.cat([alone.expand(len(own), 1), own], 1)


@metric(
    title="Cross-entropy with the text's n-grams, in context", unit="nats", task="ngrams", axes=("label",),
    labels=ORDERS, lower=0.0, source=BELROSE, undefined="a logit is not finite",
)  # fmt: skip
def ngram_cross_entropy(
    logits: Logits,
    ngram_successors: Successors,
    ngram_shares: Shares,
    unigrams: tuple[int, ...],
    unigram_shares: tuple[float, ...],
) -> Float[Tensor, "batch label"]:
    """How well does the model, with all of its context, predict a token drawn from what the last few tokens allow?

    **Definition.** mean over the places read of -sum p ln q, with p and q as for `ngram_kl`.

    **Reads.** As `ngram_kl`.

    **Returns** [batch label], nats; `ngram_kl` more than the entropy of the text's own n-grams, which does not depend
    on the model. Uniform predictions give ln(d_vocab). NaN where a logit is not finite.

    **Source.** Belrose et al. 2024. Departures: as `ngram_kl`; and the expectation over the text's n-grams after real
    contexts, where the paper draws whole sequences from an n-gram model, which no context of the text precedes.

    **Example.** One place of a model that finds four tokens alike: ln 4, whatever follows.

    >>> always = torch.tensor([3, 3, 3]).view(1, 1, 3, 1)
    >>> ngram_cross_entropy(torch.zeros(1, 1, 4), always, torch.ones(1, 1, 3, 1), (2, 3), (0.5, 0.5))
    tensor([[1.3863, 1.3863, 1.3863, 1.3863]])
    """
    said = logits.float().log_softmax(-1)
    read = (ngram_shares[:, :, 0].sum(-1) > 0).float()
    often = torch.tensor(unigram_shares, dtype=torch.float32, device=logits.device)
    parts = [-(often * said[..., list(unigrams)]).sum(-1)]
    for order in range(ngram_shares.shape[2]):
        chosen = said.gather(2, ngram_successors[:, :, order].long())
        parts.append(-(ngram_shares[:, :, order] * chosen).sum(-1))
    return torch.stack([(part * read).sum(1) / read.sum(1) for part in parts], 1)


@metric(
    title="N-gram score", unit="ratio", task="ngram_completions", axes=("label",), labels=ORDERS[1:], lower=0.0,
    per_example=False, source=HOOGLAND, undefined="a logit is not finite, or the loss on the n-grams is 0",
)  # fmt: skip
def ngram_score(
    token_loss: Float[Tensor, "batch pos"], ngram_order: Int[Tensor, " batch"]
) -> Float[Tensor, " label"]:
    """Is the last token of a common n-gram easier than a token at that place in any text?

    **Definition.** For n = 2, 3, 4: the mean loss of the n-th token of windows of the text over the mean loss of the
    last token of the text's commonest n-grams, each given alone after a start token and counted once.

    **Reads.** `token_loss` [batch pos]; `ngram_order` [batch], n for an n-gram and 0 for a window of the text.

    **Returns** [label], >= 0; 1 when n-grams are no easier than other text, as for a model that knows nothing, and
    more when they are. Below 1 for a vocabulary so small that the thousand n-grams are not all common, since windows
    follow the text's own frequencies. NaN where a logit is not finite.

    **Source.** Hoogland et al. 2024, the loss of the text relative to that of its thousand commonest n-grams.
    Departure: counts from the text measured on.

    **Example.** The second token costs 3 in the text and 1 in the only bigram; the others as in the text:

    >>> losses = torch.tensor([[3.0, 3.0, 2.0, 2.0], [9.0, 1.0, 9.0, 9.0], [9.0, 9.0, 2.0, 9.0], [9.0, 9.0, 9.0, 2.0]])
    >>> ngram_score(losses, torch.tensor([0, 2, 3, 4]))
    tensor([3., 1., 1.])
    """
    scores = []
    for n in range(2, 2 + len(ORDERS) - 1):
        common = token_loss[ngram_order == n, n - 1].mean()
        scores.append(torch.where(common > 0, token_loss[ngram_order == 0, n - 1].mean() / common, float("nan")))
    return torch.stack(scores)
