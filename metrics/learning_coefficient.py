"""How degenerate the loss is around a checkpoint: the local learning coefficient (Lau et al. 2023)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric

Losses = Float[Tensor, "chain draw"]
LAU = "Lau et al. 2023, 'The Local Learning Coefficient: A Singularity-Aware Complexity Measure'"


@metric(
    title="Local learning coefficient", unit="parameters", task="langevin",
    source=f"{LAU}; devinterp, slt/llc.py; Hoogland et al. 2024", undefined="a chain left the finite numbers",
)  # fmt: skip
def local_learning_coefficient(
    langevin_losses: Losses, langevin_start: Float[Tensor, ""], n_beta: float, burn_in: int
) -> Float[Tensor, " chain"]:
    """In how many effective parameters does the loss rise around these weights?

    **Definition.** n_beta (mean of L over a chain - L at the checkpoint), for chains of stochastic gradient Langevin
    dynamics that start at the checkpoint's weights and sample exp(-n_beta L(w) - localization |w - w*|^2 / 2).

    **Reads.** `langevin_losses` [chain draw], each on its mini-batch, and `langevin_start`, the loss at the
    checkpoint over all windows; `n_beta` and `burn_in` of the task, whose other settings are stored with it.

    **Returns** [chain]; the standard error is that over chains. About half of the number of parameters for a
    minimum in all of them, as far as `n_beta` outweighs `localization`; less for a degenerate one. Negative where the
    checkpoint is not at a minimum, as early in training, or where the step is too large. NaN where a chain
    diverges.

    **Source.** Lau et al. 2023, as estimated by devinterp: the mean over all steps after `burn_in`, by default over
    all. Departures: the loss at the checkpoint is that of all windows, where devinterp takes 32 batches; dropout is
    off. The value depends on every setting: compare checkpoints at the same ones only, and read `langevin_drift`.

    **Example.** A chain at 1.3 and 1.5 around a loss of 1, at n_beta 10:

    >>> local_learning_coefficient(torch.tensor([[1.3, 1.5]]), torch.tensor(1.0), 10.0, 0).round(decimals=4)
    tensor([4.])
    """
    return _finite(n_beta * (langevin_losses[:, burn_in:].mean(1) - langevin_start))


@metric(
    title="Drift of the sampled loss", unit="parameters", task="langevin", source=LAU,
    undefined="a chain left the finite numbers, or has fewer than four draws after the burn-in",
)  # fmt: skip
def langevin_drift(langevin_losses: Losses, n_beta: float, burn_in: int) -> Float[Tensor, " chain"]:
    """Has the sampling come to rest, so that the local learning coefficient can be read?

    **Definition.** n_beta (mean loss of the last quarter of a chain - mean loss of the quarter before), after
    `burn_in`.

    **Reads.** `langevin_losses` [chain draw], `n_beta` and `burn_in` of the task.

    **Returns** [chain], in the unit of `local_learning_coefficient`; about 0 for a chain at rest. Where it is not
    small beside that, take more draws, a burn-in, or a larger step. NaN with fewer than four draws.

    **Source.** The check of the trace that Lau et al. 2023 ask for, as a number; its form is this project's.

    **Example.** The loss still rises by 0.1 from quarter to quarter:

    >>> langevin_drift(torch.tensor([[1.0, 1.1, 1.2, 1.3]]), 10.0, 0).round(decimals=4)
    tensor([1.])
    """
    quarter = (langevin_losses.shape[1] - burn_in) // 4
    if quarter < 1:
        return langevin_losses.new_full((len(langevin_losses),), float("nan"))
    last, before = langevin_losses[:, -quarter:], langevin_losses[:, -2 * quarter : -quarter]
    return _finite(n_beta * (last.mean(1) - before.mean(1)))


def _finite(values: Float[Tensor, " chain"]) -> Float[Tensor, " chain"]:
    return torch.where(values.isfinite(), values, float("nan"))
