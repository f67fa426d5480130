"""In-context learning: how much does the context help? (Olsson et al. 2022)"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric

PLACES = 16  # of each window, whose tokens are followed one by one


@metric(
    title="Loss by position",
    unit="nats",
    task="text",
    axes=("index",),
    lower=0.0,
    first_index=1,
    source="Olsson et al. 2022, 'In-context Learning and Induction Heads', loss as a function of token index",
    undefined="a logit is not finite",
)
def loss_by_position(token_loss: Float[Tensor, "batch pos"]) -> Float[Tensor, "batch pos"]:
    """How well is the token at each place in the context predicted?

    **Definition.** The cross-entropy of the token at each position given those before it. Index i is the i-th
    predicted token; the start token has none.

    **Reads.** `token_loss` [batch pos].

    **Returns** [batch pos], nats, >= 0. NaN where a logit is not finite.

    **Source.** Olsson et al. 2022. Documents are not packed across each other, so a position is a place within its
    document.

    **Example.**

    >>> loss_by_position(torch.tensor([[2.0, 1.0]]))
    tensor([[2., 1.]])
    """
    return token_loss


@metric(
    title="Loss of single tokens",
    unit="nats",
    task="text",
    axes=("index",),
    lower=0.0,
    per_example=False,
    source="Olsson et al. 2022, 'In-context Learning and Induction Heads', per-token loss vectors",
    undefined="a logit is not finite",
)
def per_token_loss(token_loss: Float[Tensor, "batch pos"]) -> Float[Tensor, " token"]:
    """How well is each of many single tokens predicted, one by one?

    **Definition.** The cross-entropy of the tokens at up to sixteen places of every window, evenly spread and the same
    at every checkpoint: the vector of a checkpoint in the space of losses. Index i is place i mod 16 of window i // 16.

    **Reads.** `token_loss` [batch pos].

    **Returns** [token], nats, >= 0: 1,024 of them for 64 windows. NaN where a logit is not finite.

    **Source.** Olsson et al. 2022, per-token loss vectors. Departure: sixteen fixed places of each window, where the
    paper draws one place of each of ten thousand. The shapes of its curves over training are those of
    `dynamics.curve_shapes`.

    **Example.** Two windows of two tokens:

    >>> per_token_loss(torch.tensor([[2.0, 1.0], [4.0, 3.0]]))
    tensor([2., 1., 4., 3.])
    """
    length = token_loss.shape[1]
    places = torch.linspace(0, length - 1, min(PLACES, length)).round().long()
    return token_loss[:, places.to(token_loss.device)].flatten()


@metric(
    title="In-context learning score",
    unit="nats",
    task="text",
    source="Olsson et al. 2022, 'In-context Learning and Induction Heads', in-context learning score",
    undefined="a logit is not finite",
)
def in_context_learning_score(
    loss_at: Callable[[Sequence[int]], Float[Tensor, "batch n"]], early_position: int, late_position: int
) -> Float[Tensor, " batch"]:
    """How much better is a token predicted late in the context than early in it?

    **Definition.** The loss of the 500th token minus that of the 50th, averaged over examples. Tokens are counted
    from 1 and the start token is not counted.

    **Reads.** `loss_at`; `early_position` and `late_position` of the task, 50 and 500 where the context has room and
    in the same proportion (50/512 and 500/512 of the positions) where it has not. The task stores the two.

    **Returns** [batch], nats; more negative is better. NaN where a logit is not finite.

    **Source.** Olsson et al. 2022. Departure: the positions scale with shorter contexts.

    **Example.** A loss of 3 early and of 1 late:

    >>> in_context_learning_score(lambda positions: torch.tensor([[3.0, 1.0]]), 50, 500)
    tensor([-2.])
    """
    early, late = loss_at([early_position, late_position]).unbind(-1)
    return late - early


@metric(
    title="In-context learning score, windowed",
    unit="nats",
    task="text",
    source="Olsson et al. 2022, in-context learning score, averaged over neighbouring positions",
    undefined="a logit is not finite",
)
def in_context_learning_score_windowed(
    loss_at: Callable[[Sequence[int]], Float[Tensor, "batch n"]],
    early_window: tuple[int, int],
    late_window: tuple[int, int],
) -> Float[Tensor, " batch"]:
    """How much better are tokens predicted late in the context than early in it, with less noise?

    **Definition.** The mean loss of the 450th to the 511th token minus that of the 40th to the 60th, both ends
    included, tokens counted from 1 after the start token.

    **Reads.** `loss_at`; `early_window` and `late_window` of the task, which scale with shorter contexts.

    **Returns** [batch], nats; more negative is better. NaN where a logit is not finite.

    **Source.** Olsson et al. 2022. Departure: windows of 62 and 21 tokens in place of the 500th and the 50th, since
    the score of two single tokens needs thousands of examples to settle.

    **Example.** A loss that falls by 1 with each position, read at 1 to 3 and at 5:

    >>> in_context_learning_score_windowed(lambda positions: 9 - torch.tensor([positions]).float(), (1, 3), (5, 5))
    tensor([-3.])
    """
    early = range(early_window[0], early_window[1] + 1)
    late = range(late_window[0], late_window[1] + 1)
    losses = loss_at([*early, *late])
    return losses[:, len(early) :].mean(-1) - losses[:, : len(early)].mean(-1)
