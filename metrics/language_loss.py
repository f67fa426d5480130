"""How well a language model predicts text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch  # noqa: F401  (the doctests' name)
from jaxtyping import Float, Int
from torch import Tensor

from metrics.contract import metric


@metric(
    title="Loss",
    unit="nats",
    task="text",
    lower=0.0,
    source="cross-entropy of the next token, mean over positions",
    undefined="a logit is not finite",
)
def loss(
    loss_at: Callable[[Sequence[int]], Float[Tensor, "batch n"]], loss_positions: tuple[int, ...]
) -> Float[Tensor, " batch"]:
    """How well does the model predict the next token of the text?

    **Definition.** mean over positions of -ln p(token | tokens before).

    **Reads.** `loss_at`; `loss_positions` of the task: every position, or the sample that its settings ask for, the
    same one at every checkpoint.

    **Returns** [batch], nats per token, >= 0. Chance is ln(d_vocab). NaN where a logit is not finite.

    **Source.** The usual language-model loss; sequences have one length, so the mean over examples is the mean over
    tokens. With sampled positions, one from each of as many equal stretches, it estimates that mean; the standard
    error is over examples and does not count the choice of positions.

    **Example.**

    >>> loss(lambda positions: torch.tensor([[2.0, 1.0], [0.0, 1.0]]), (1, 2))
    tensor([1.5000, 0.5000])
    """
    return loss_at(loss_positions).mean(-1)


@metric(
    title="Perplexity",
    unit="tokens",
    task="text",
    lower=1.0,
    per_example=False,
    source="exponential of the mean cross-entropy per token",
    undefined="a logit is not finite",
)
def perplexity(token_loss: Float[Tensor, "batch pos"]) -> Float[Tensor, ""]:
    """Among how many equally likely tokens does the model in effect choose?

    **Definition.** exp(mean over all tokens of -ln p). Not the mean of the examples' perplexities, which is larger.

    **Reads.** `token_loss` [batch pos].

    **Returns** one number, >= 1; chance is d_vocab. NaN where a logit is not finite.

    **Source.** The usual definition. It depends on the tokenizer: between vocabularies compare `bits_per_byte`.

    **Example.** Losses of ln 2 and ln 8 have the mean ln 4:

    >>> perplexity(torch.tensor([[2.0, 8.0]]).log())
    tensor(4.)
    """
    return token_loss.mean().exp()


@metric(
    title="Bits per byte",
    unit="bits/byte",
    task="text",
    lower=0.0,
    per_example=False,
    source="Gao et al. 2020, 'The Pile', section 3.1",
    undefined="a logit is not finite",
)
def bits_per_byte(token_loss: Float[Tensor, "batch pos"], n_bytes: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
    """How well does the model compress the text, whatever its tokenizer?

    **Definition.** Sum of all tokens' losses over (ln 2 times the UTF-8 bytes that these tokens stand for).

    **Reads.** `token_loss` [batch pos]; `n_bytes` [batch], the bytes of each window. The start token is neither
    predicted nor counted.

    **Returns** one number, bits per byte, >= 0; 8 for bytes at random. NaN where a logit is not finite.

    **Source.** Gao et al. 2020, section 3.1. A ratio of sums, not a mean of ratios. Where a character is split
    between two windows, its bytes count in the later one.

    **Example.** Two tokens of ln 2 nats, 2 bits in all, stand for 4 bytes:

    >>> bits_per_byte(torch.tensor([[2.0, 2.0]]).log(), torch.tensor([4]))
    tensor(0.5000)
    """
    return token_loss.sum() / (math.log(2) * n_bytes.sum())


@metric(
    title="Accuracy",
    unit="fraction",
    task="text",
    lower=0.0,
    upper=1.0,
    source="share of next tokens that the model ranks first",
)
def accuracy(token_correct: Float[Tensor, "batch pos"]) -> Float[Tensor, " batch"]:
    """How often is the next token the one that the model ranks first?

    **Definition.** mean over positions of 1 where the token has the largest logit, else 0. The token counts as first
    where it shares the largest logit.

    **Reads.** `token_correct` [batch pos].

    **Returns** [batch], 0..1; chance is the share of the text's commonest token. 0 where logits are NaN, and the loss
    is then NaN.

    **Source.** The usual top-1 accuracy of language modelling.

    **Example.**

    >>> accuracy(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    tensor([0.5000, 0.0000])
    """
    return token_correct.mean(-1)
