"""Monogenic and polygenic curves (Michaud et al. 2023): does a loss fall once, from one plateau to another, or by
degrees? Read from stored measurements; loads without torch.

The continuous version, the share of the fall that is its largest single drop, is `sudden_drop_share` of
`dynamics.events.indices`.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

CURVE = ("series", "stage", "metric", "layer", "head", "index", "label")


def single_drop(loss: NDArray[np.float64], *, plateau: float = 0.7, drop: float = 2.0) -> int | None:
    """The place of the first value after the only drop of a curve, or None for a curve that is not two plateaus.

    Definition: there is a j > 0 such that the values before j are within `plateau` of each other, those from j on
    too, and the lowest before j is at least `drop` above the lowest from j on. Where several j do, the one with the
    largest difference between the values at j - 1 and j. None for a curve with a value that is not finite.

    Source: Michaud et al. 2023, monogenic tokens; 0.7 and 2 nats are theirs. Their code tests the values before j
    twice and those after never; this is what the text describes.

    >>> single_drop(np.array([3.0, 3.2, 3.1, 0.4, 0.2])), single_drop(np.array([3.0, 2.0, 1.0, 0.4, 0.2]))
    (3, None)
    """
    if not np.isfinite(loss).all():
        return None
    places = [
        j for j in range(1, len(loss))
        if np.ptp(loss[:j]) <= plateau and np.ptp(loss[j:]) <= plateau and loss[:j].min() >= loss[j:].min() + drop
    ]  # fmt: skip
    return max(places, key=lambda j: loss[j - 1] - loss[j]) if places else None


def monogenic(frame: pl.DataFrame, *, plateau: float = 0.7, drop: float = 2.0) -> pl.DataFrame:
    """For each curve of a frame of measurements whether it is monogenic, and between which steps it fell.

    Columns: those that name a curve, `monogenic`, and `before` and `after`, the steps around the drop; these two are
    null for a curve that is not. A drop below the reach of a curve (ln 2 for a yes-or-no question) needs a `drop` and
    a `plateau` to its measure.
    """
    names = [name for name in CURVE if name in frame.columns]
    rows = []
    for key, curve in frame.sort("step").group_by(names, maintain_order=True):
        steps = curve["step"].to_list()
        j = single_drop(curve["value"].cast(pl.Float64).fill_null(np.nan).to_numpy(), plateau=plateau, drop=drop)
        fell = (None, None) if j is None else (steps[j - 1], steps[j])
        rows.append((*key, j is not None, *fell))
    schema = {name: frame.schema[name] for name in names}
    return pl.DataFrame(rows, {**schema, "monogenic": pl.Boolean, "before": pl.Int64, "after": pl.Int64}, orient="row")
