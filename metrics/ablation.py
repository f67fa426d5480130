"""What is due to chosen attention heads: the same text with them and without (Olsson et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch  # noqa: F401  (the doctests' name)
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric

LossAt = Callable[[Sequence[int]], Float[Tensor, "batch n"]]
OLSSON = "Olsson et al. 2022, 'In-context Learning and Induction Heads', pattern-preserving ablation"


@metric(
    title="In-context learning due to the chosen heads", unit="nats", task="ablation", source=OLSSON,
    undefined="a logit is not finite",
)  # fmt: skip
def in_context_learning_from_heads(
    loss_at: LossAt, ablated_loss_at: LossAt, early_position: int, late_position: int
) -> Float[Tensor, " batch"]:
    """How much of what the model gains from the context is due to these heads?

    **Definition.** The in-context learning score, loss of the 500th token minus that of the 50th, of the whole model
    minus that of the model in which the chosen heads' outputs are 0 and every head attends as in the whole one.

    **Reads.** `loss_at` and `ablated_loss_at`; `early_position` and `late_position` of the task.

    **Returns** [batch], nats; negative when the heads help late tokens more than early ones, 0 when they do not
    matter. Compare it with `in_context_learning_score` of the same text. NaN where a logit is not finite.

    **Source.** Olsson et al. 2022, argument 3. Departures: the positions scale with shorter contexts; heads are
    silenced together, where the paper's figures have each alone; with `patterns = "free"` it is their full ablation.

    **Example.** The context is worth 2 nats with the heads and half a nat without:

    >>> in_context_learning_from_heads(
    ...     lambda positions: torch.tensor([[3.0, 1.0]]), lambda positions: torch.tensor([[3.5, 3.0]]), 50, 500)
    tensor([-1.5000])
    """
    whole = loss_at([early_position, late_position])
    without = ablated_loss_at([early_position, late_position])
    return (whole[:, 1] - whole[:, 0]) - (without[:, 1] - without[:, 0])


@metric(
    title="Loss without the chosen heads, less the loss with them", unit="nats", task="ablation", source=OLSSON,
    undefined="a logit is not finite",
)  # fmt: skip
def loss_from_heads(
    loss_at: LossAt, ablated_loss_at: LossAt, loss_positions: tuple[int, ...]
) -> Float[Tensor, " batch"]:
    """How much worse is the model without these heads?

    **Definition.** mean over positions of the loss of the model in which the chosen heads' outputs are 0 and every
    head attends as in the whole one, minus that of the whole model.

    **Reads.** `loss_at` and `ablated_loss_at`; `loss_positions` of the task, by default every one.

    **Returns** [batch], nats; 0 when the heads do not matter, negative when the model is better without them. NaN
    where a logit is not finite.

    **Source.** Olsson et al. 2022. Departure: heads are silenced together.

    **Example.**

    >>> loss_from_heads(
    ...     lambda positions: torch.tensor([[3.0, 1.0]]), lambda positions: torch.tensor([[3.5, 3.0]]), (1, 2))
    tensor([1.2500])
    """
    return (ablated_loss_at(loss_positions) - loss_at(loss_positions)).mean(-1)
