"""The shapes that the losses of single tokens take over training: which fall, which fall all at once, which rise again.

Single tokens are noisy, so a curve has the shape of the monotone or valley-shaped curve that fits it best. Read from
stored measurements; loads without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dynamics.monogenic import CURVE

Curve = NDArray[np.float64]

SHAPES = ("sharp", "falling", "U-shaped", "rising", "flat", "irregular")
EXPLAINED = 0.8  # of a curve's variance, by the fit whose shape it has
SUDDEN = 0.5  # of a fall, in one step


def shape(loss: Curve, *, tolerance: float = 0.7, drop: float = 2.0) -> str | None:
    """The shape of one curve, or None for one with a value that is not finite.

    Definition, the first that holds, with least-squares fits (isotonic regression):
    - flat: neither the best falling nor the best rising fit goes further than `tolerance`;
    - sharp: the best falling fit explains 80 % of the variance, and one of its steps is at least half of its fall and
      at least `drop`;
    - falling: it explains 80 %, and falls by more than `tolerance`;
    - rising: the same upside down;
    - U-shaped: the best fit that falls and then rises explains 80 %, and does both by more than `tolerance`;
    - irregular: everything else.

    Source: sharp and gradual falls are those of Michaud et al. 2023, whose test (`dynamics.monogenic`, with the same
    0.7 and 2 nats) asks for plateaus without noise; half of the fall in one step is the continuous form of it. That
    tokens also rise, or fall and rise again, is in Xia et al. 2023, 'Training Trajectories of Language Models Across
    Scales', who fit lines to the perplexities. The fits and the 80 % are a choice of this project.

    >>> shape(np.array([5.0, 4.0, 3.0])), shape(np.array([5.0, 3.0, 4.0])), shape(np.array([5.0, 5.1, 1.0]))
    ('falling', 'U-shaped', 'sharp')
    """
    if not np.isfinite(loss).all() or len(loss) < 2:
        return None
    down, up = _falling(loss), _falling(-loss)
    if max(down.fall, up.fall) <= tolerance:
        return "flat"
    allowed = (1 - EXPLAINED) * float(((loss - loss.mean()) ** 2).sum())
    if down.errors[-1] <= allowed and down.fall > tolerance:
        return "sharp" if down.step >= max(drop, SUDDEN * down.fall) else "falling"
    if up.errors[-1] <= allowed and up.fall > tolerance:
        return "rising"
    return "U-shaped" if _is_valley(loss, down, allowed, tolerance) else "irregular"


def shapes(frame: pl.DataFrame, *, tolerance: float = 0.7, drop: float = 2.0) -> pl.DataFrame:
    """The shape of each curve of a frame of measurements: the columns that name a curve, and `shape`.

    A curve with a gap has no shape: null.
    """
    names = [name for name in CURVE if name in frame.columns]
    curves = frame.sort("step").group_by(names, maintain_order=True).agg(pl.col("value").cast(pl.Float64))
    known = [shape(np.array(curve, float), tolerance=tolerance, drop=drop) for curve in curves["value"].to_list()]
    return curves.select(*names, pl.Series("shape", known, pl.String))


def shape_shares(found: pl.DataFrame) -> pl.DataFrame:
    """How many curves of each series have each of the `shapes`: `series`, `shape`, `n`, and `share` of those with one.
    """
    found = found.drop_nulls("shape")
    counted = found.group_by("series", "shape", maintain_order=True).agg(pl.len().alias("n"))
    every = found.select("series").unique(maintain_order=True).join(pl.DataFrame({"shape": SHAPES}), how="cross")
    filled = every.join(counted, on=("series", "shape"), how="left", maintain_order="left").fill_null(0)
    return filled.with_columns((pl.col("n") / pl.col("n").sum().over("series")).alias("share"))


@dataclass(frozen=True)
class _Fit:
    """The best curve that never rises: its squared error on the first 1, 2, ... values, its ends, its largest step."""

    errors: list[float]
    first: float
    last: float
    step: float

    @property
    def fall(self) -> float:
        """From the first value to the last."""
        return self.first - self.last


def _falling(values: Curve) -> _Fit:
    """Pooling of neighbours that would rise, in one pass over the values."""
    blocks: list[tuple[float, int, float]] = []  # sum, count and sum of squares
    errors: list[float] = []
    error = 0.0
    for value in values.tolist():
        total, count, squares = value, 1, value * value
        while blocks and blocks[-1][0] * count < total * blocks[-1][1]:
            before = blocks.pop()
            error -= before[2] - before[0] ** 2 / before[1]
            total, count, squares = total + before[0], count + before[1], squares + before[2]
        blocks.append((total, count, squares))
        error += squares - total**2 / count
        errors.append(error)
    means = [total / count for total, count, _ in blocks]
    return _Fit(errors, means[0], means[-1], max((one - two for one, two in pairwise(means)), default=0.0))


def _is_valley(loss: Curve, down: _Fit, allowed: float, tolerance: float) -> bool:
    """Whether a fit that falls up to some place and rises after it holds, and does both by enough."""
    back = _falling(loss[::-1])  # a rise, read from the end
    errors = [down.errors[k] + back.errors[len(loss) - k - 2] for k in range(len(loss) - 1)]
    k = int(np.argmin(errors))
    left, right = _falling(loss[: k + 1]), _falling(loss[:k:-1])
    depth = min(left.first, right.first) - min(left.last, right.last)
    return errors[k] <= allowed and depth > tolerance
