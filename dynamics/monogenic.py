"""Monogenic and polygenic curves (Michaud et al. 2023): does a loss fall once, from one plateau to another, or by
degrees? Read from stored measurements; loads without torch.

Whoever wants a number and not a verdict reads the share of the fall that is its largest single drop: 1 for a curve
that falls between two checkpoints, about 1/n for one that falls evenly over n.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dynamics.events.indices import sudden_drop_share

# The metrics of single skills, each with the plateau and the drop that its reach allows: the paper's nats for tokens,
# and a fifth of them for questions with two answers, whose loss falls from ln 2.
SKILLS = {"quantum_loss": (0.7, 2.0), "quantum_token_loss": (0.7, 2.0), "subtask_loss": (0.14, 0.4)}

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

    Columns: those that name a curve, `monogenic`, `before` and `after`, the steps around the drop, which are null for
    a curve that is not, and `largest_drop_share`, the largest single drop as a share of the whole. A drop beyond the
    reach of a curve (ln 2 for a yes-or-no question) needs a `drop` and a `plateau` to its measure.
    """
    names = [name for name in CURVE if name in frame.columns]
    rows = []
    for key, curve in frame.sort("step").group_by(names, maintain_order=True):
        steps, loss = curve["step"].to_list(), curve["value"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        j = single_drop(loss, plateau=plateau, drop=drop)
        fell = (None, None) if j is None else (steps[j - 1], steps[j])
        share = sudden_drop_share(loss)
        rows.append((*key, j is not None, *fell, share if np.isfinite(share) else None))
    schema = {name: frame.schema[name] for name in names}
    said = {"monogenic": pl.Boolean, "before": pl.Int64, "after": pl.Int64, "largest_drop_share": pl.Float64}
    return pl.DataFrame(rows, {**schema, **said}, orient="row")


def skills(frame: pl.DataFrame) -> pl.DataFrame:
    """`monogenic` for each metric of single skills that the frame has, with its own plateau and drop."""
    found = [
        monogenic(part, plateau=plateau, drop=drop) for metric, (plateau, drop) in SKILLS.items()
        if (part := frame.filter(pl.col("metric") == metric)).height
    ]  # fmt: skip
    return pl.concat(found) if found else monogenic(frame.clear())
