"""Loss on a repeated sequence: before it repeats, and once it does."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metrics.contract import metric


@metric(
    title="Loss on a sequence's first occurrence",
    unit="nats",
    task="repeated_tokens",
    lower=0.0,
    source="Olsson et al. 2022, 'In-context Learning and Induction Heads', repeated random tokens",
    undefined="a logit is not finite",
)
def first_occurrence_loss(
    token_loss: Float[Tensor, "batch pos"], period: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """How well are random tokens predicted that have not been seen yet?

    **Definition.** The mean loss of tokens 1 .. period, the first copy of the block, counted after the start token.

    **Reads.** `token_loss` [batch pos]; `period` [batch].

    **Returns** [batch], nats. Nothing predicts random tokens: about ln(d_vocab), and above it once the model has
    learnt that its text is not random. NaN where a logit is not finite.

    **Source.** Olsson et al. 2022: the control of `repeated_loss`.

    **Example.** A block of 2 in a sequence of 4 tokens:

    >>> first_occurrence_loss(torch.tensor([[6.0, 4.0, 1.0, 3.0]]), torch.tensor([2]))
    tensor([5.])
    """
    return _mean_where(token_loss, _place(token_loss) < period.to(token_loss.device)[:, None])


@metric(
    title="Loss on a sequence's repeats",
    unit="nats",
    task="repeated_tokens",
    lower=0.0,
    source="Olsson et al. 2022, 'In-context Learning and Induction Heads', repeated random tokens",
    undefined="the sequence holds its block once, or a logit is not finite",
)
def repeated_loss(token_loss: Float[Tensor, "batch pos"], period: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """How well are random tokens predicted once they have been seen in this order?

    **Definition.** The mean loss of tokens period + 2 .. end: every later copy, less the first token of the second
    one, whose coming nothing announces.

    **Reads.** `token_loss` [batch pos]; `period` [batch].

    **Returns** [batch], nats: 0 for perfect copying from the context, `first_occurrence_loss` where the context does
    not help. NaN where the sequence holds its block once.

    **Source.** Olsson et al. 2022. Departures: the block length varies, so a memorised offset does not help; the
    first token of the second copy is left out.

    **Example.** A block of 2 in a sequence of 5 tokens; the third token is left out:

    >>> repeated_loss(torch.tensor([[6.0, 4.0, 9.0, 1.0, 3.0]]), torch.tensor([2]))
    tensor([2.])
    """
    return _mean_where(token_loss, _place(token_loss) > period.to(token_loss.device)[:, None])


def _place(token_loss: Float[Tensor, "batch pos"]) -> Int[Tensor, " pos"]:
    return torch.arange(token_loss.shape[1], device=token_loss.device)


def _mean_where(token_loss: Float[Tensor, "batch pos"], chosen: Tensor) -> Float[Tensor, " batch"]:
    """The mean over the chosen entries, NaN where there are none; entries left out do not spoil it by being NaN."""
    return torch.where(chosen, token_loss, 0.0).sum(-1) / chosen.sum(-1)
