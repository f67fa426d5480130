"""The shapes that the losses of single tokens take over training: which fall, which fall all at once, which rise again.

Read from stored measurements; loads without torch.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dynamics.monogenic import CURVE, single_drop

SHAPES = ("sharp", "falling", "U-shaped", "rising", "flat", "irregular")


def shape(loss: NDArray[np.float64], *, tolerance: float = 0.7, drop: float = 2.0) -> str | None:
    """The shape of one curve, or None for one with a value that is not finite.

    Definition, the first that holds:
    - sharp: two plateaus and one drop between them, `dynamics.monogenic.single_drop` with `tolerance` and `drop`;
    - flat: all values within `tolerance` of each other;
    - falling: the last value is more than `tolerance` below the first, and no value is more than `tolerance` above an
      earlier one;
    - rising: the same upside down;
    - U-shaped: the lowest value is more than `tolerance` below the first and the last; up to it the curve is as for
      falling, from it on as for rising;
    - irregular: everything else.

    Source: sharp and gradual falls are those of Michaud et al. 2023, with their 0.7 and 2 nats; that tokens also rise,
    or fall and rise again, is in Xia et al. 2023, 'Training Trajectories of Language Models Across Scales', who fit
    lines to the perplexities. That one tolerance of noise holds for every shape is a choice of this project.

    >>> shape(np.array([5.0, 4.0, 3.0])), shape(np.array([5.0, 3.0, 4.0])), shape(np.array([5.0, 5.1, 1.0]))
    ('falling', 'U-shaped', 'sharp')
    """
    if not np.isfinite(loss).all() or len(loss) < 2:
        return None
    lowest = int(loss.argmin())
    holds = {
        "sharp": single_drop(loss, plateau=tolerance, drop=drop) is not None,
        "flat": np.ptp(loss) <= tolerance,
        "falling": loss[0] - loss[-1] > tolerance and _falls(loss, tolerance),
        "rising": loss[-1] - loss[0] > tolerance and _falls(-loss, tolerance),
        "U-shaped": min(loss[0], loss[-1]) - loss[lowest] > tolerance
        and _falls(loss[: lowest + 1], tolerance) and _falls(-loss[lowest:], tolerance),
    }  # fmt: skip
    return next((name for name, does in holds.items() if does), "irregular")


def shapes(frame: pl.DataFrame, *, tolerance: float = 0.7, drop: float = 2.0) -> pl.DataFrame:
    """The shape of each curve of a frame of measurements: the columns that name a curve, and `shape`.

    A curve with a gap has no shape: null.
    """
    names = [name for name in CURVE if name in frame.columns]
    rows = [
        (*key, shape(curve["value"].cast(pl.Float64).fill_null(np.nan).to_numpy(), tolerance=tolerance, drop=drop))
        for key, curve in frame.sort("step").group_by(names, maintain_order=True)
    ]
    return pl.DataFrame(rows, {**{name: frame.schema[name] for name in names}, "shape": pl.String}, orient="row")


def shape_shares(frame: pl.DataFrame, *, tolerance: float = 0.7, drop: float = 2.0) -> pl.DataFrame:
    """How many curves of each series have each shape: `series`, `shape`, `n` and `share` of those that have one."""
    found = shapes(frame, tolerance=tolerance, drop=drop).drop_nulls("shape")
    counted = found.group_by("series", "shape", maintain_order=True).agg(pl.len().alias("n"))
    every = found.select("series").unique(maintain_order=True).join(pl.DataFrame({"shape": SHAPES}), how="cross")
    filled = every.join(counted, on=("series", "shape"), how="left", maintain_order="left").fill_null(0)
    return filled.with_columns((pl.col("n") / pl.col("n").sum().over("series")).alias("share"))


def _falls(loss: NDArray[np.float64], tolerance: float) -> bool:
    """Whether no value is more than the tolerance above an earlier one."""
    return bool((loss - np.minimum.accumulate(loss)).max() <= tolerance)
