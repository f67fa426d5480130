"""Gains of normalisation layers: where a model stops reading dimensions of its residual stream."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from metrics.contract import metric

SMALL = 0.1
GAINS = ("w", "weight")  # the last part of the names of norm gains, the only vectors called so


@metric(
    title="Share of vanished norm gains", unit="fraction", axes=("label",), lower=0.0, upper=1.0,
    source="Hoogland et al. 2024, 'Loss Landscape Degeneracy and Stagewise Development', layer-norm collapse",
    undefined="a gain is not finite",
)  # fmt: skip
def vanished_gains(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How many dimensions has each normalisation layer switched off?

    **Definition.** The share of a norm's gains whose size is at most 0.1.

    **Reads.** `weights`; gains are the vectors whose name ends in `w` or `weight`.

    **Returns** one number for each norm by the name of its gain, 0..1; 0 at the start of training, where gains are 1.
    NaN where a gain is not finite.

    **Source.** Hoogland et al. 2024; the published code counts those above 0.1.

    **Example.**

    >>> vanished_gains({"ln1.w": torch.tensor([1.0, 0.02, -0.5, -0.01]), "ln1.b": torch.zeros(4)})
    {'ln1.w': tensor(0.5000)}
    """
    gains = {name: w for name, w in weights.items() if w.ndim == 1 and name.rsplit(".", 1)[-1] in GAINS}
    return {name: (w.abs() <= SMALL).float().mean().where(w.isfinite().all(), torch.nan) for name, w in gains.items()}
