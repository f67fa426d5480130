"""Curves in which nothing was detected: whether they rise or fall gradually, or their ends agree within errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from dashboards.theme import number

ENDS = 3  # checkpoints at each end of a curve, whose mean is its level there
CLEAR = 3.0  # standard errors of one difference between the ends before it is told
FEWEST = 8


def goes(values: Sequence[float]) -> tuple[float, float]:
    """The levels of the first and the last checkpoints."""
    return float(np.mean(values[:ENDS])), float(np.mean(values[-ENDS:]))


def told(rows: pl.DataFrame) -> str:
    """How one curve goes from end to end, in words; nothing where its ends agree within errors."""
    way = trend(rows)
    if not way:
        return ""
    start, end = goes(rows.filter(pl.col("value").is_not_null()).sort("step")["value"].to_list())
    return f"{'rises' if way > 0 else 'falls'} gradually: {number(start)} → {number(end)}"


def trend(rows: pl.DataFrame) -> int:
    """1 where one curve rises from end to end, -1 where it falls, 0 where its ends agree within errors.

    The error is that of a single checkpoint on each side: checkpoints scored on the same questions share their
    accidents, so a mean of three is no surer. Without standard errors it is read off the curve's second differences.
    """
    ordered = rows.filter(pl.col("value").is_not_null()).sort("step")
    values, errors = ordered["value"].to_list(), ordered["stderr"].to_list()
    if len(values) < FEWEST:
        return 0
    start, end = goes(values)
    if None in errors[:ENDS] or None in errors[-ENDS:]:
        error = math.sqrt(2) * _noise(np.asarray(values))
    else:
        error = math.hypot(max(errors[:ENDS]), max(errors[-ENDS:]))
    return int(np.sign(end - start)) if abs(end - start) > CLEAR * error else 0


def _noise(values: np.ndarray) -> float:
    """The scatter of single values around a smooth curve; a straight line leaves none, a step in it little."""
    bends = np.abs(values[2:] - 2 * values[1:-1] + values[:-2])
    return 1.4826 * float(np.median(bends)) / math.sqrt(6)
