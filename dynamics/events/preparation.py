"""From measured numbers to a curve that can be fitted: the log axis, gaps, units, and the shape of the noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamics.events.likelihood import Curve, make_curve

Array = NDArray[np.float64]

FEWEST = 8  # below, a level before and a level after cannot be told from noise
FLOOR = 0.01  # noise sd is never below this share of the curve's range
MOST = 256  # beyond, checkpoints are taken together: p-values are known to hold for so many, and fits cost the cube
WANDERING = 0.999  # lag-one correlation that is not told from a random walk
SPAN = 100.0  # values that differ by more than this factor are looked at on the log as well


def axis(step: NDArray[Any]) -> Array:
    """Place of a step on the log axis, in decades: log10(step + 1)."""
    return np.log10(np.asarray(step, dtype=float) + 1.0)


def steps(x: float) -> float:
    """Training step at a place on the log axis, without the digits that logarithm and power leave behind a whole one.

    >>> steps(float(axis(np.array(78_000))))
    78000.0
    """
    return round(max(10.0**x - 1.0, 0.0), 6)


def relative_noise(stderr: Array | None, size: int) -> Array | None:
    """Relative noise of each checkpoint from its standard errors; None where they say that it is even.

    Only the shape of the standard errors is used: their level misses checkpoint-to-checkpoint noise, and
    overstates it where all checkpoints share their evaluation examples.
    """
    if stderr is None or not np.isfinite(stderr).any() or np.nanmax(stderr) <= 0:
        return None
    # a standard error of 0 is real where a share is exactly 0 or 1: such a checkpoint is quiet, not unknown
    known = np.where(np.isfinite(stderr) & (stderr >= 0), stderr, np.nan)
    typical = float(np.nanmedian(known[known > 0]))
    log = np.log(np.clip(np.nan_to_num(known / typical, nan=1.0), 0.2, 5.0))
    window = max(size // 6, 3) // 2 * 2 + 1
    pad = np.pad(log, window // 2, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(pad, window), axis=1)
    if np.ptp(smooth) < np.log(1.6):
        return None
    scale = np.exp(smooth)
    return scale / np.sqrt(np.mean(scale**2))


def measured(step: Array, value: Array, stderr: Array | None = None) -> tuple[Array, Array, Array | None]:
    """The checkpoints that were measured, in order; of more than `MOST`, means over even stretches of the log axis.

    A mean of n checkpoints is as sure as its neighbours are independent, and no surer than the means themselves agree
    from one to the next. Without standard errors that of one checkpoint is read off the curve.
    """
    keep = np.isfinite(step) & np.isfinite(value)
    order = np.argsort(step[keep], kind="stable")
    s, v = step[keep][order], value[keep][order]
    se = None if stderr is None else np.asarray(stderr, dtype=float)[keep][order]
    if len(s) <= MOST:
        return s, v, se
    x = axis(s)
    stretch = np.minimum((x - x[0]) / max(x[-1] - x[0], 1e-9) * MOST, MOST - 1).astype(int)
    stretch = np.unique(stretch, return_inverse=True)[1]
    n = np.bincount(stretch).astype(float)
    noise, kinship = _between_neighbours(v)
    known = np.full(len(s), np.nan) if se is None else se
    alone = np.bincount(stretch, np.where(np.isfinite(known), known, noise) ** 2) / n
    x, v = np.bincount(stretch, x) / n, np.bincount(stretch, v) / n
    return 10.0**x - 1.0, v, np.maximum(np.sqrt(alone / _worth(n, kinship)), _bend(v))


def _between_neighbours(value: Array) -> tuple[float, float]:
    """Standard deviation and lag-one correlation of the noise about a smooth curve, as of an autoregression.

    Of the differences over one and over two checkpoints, which a slow trend hardly touches: their variances are
    2 s² (1 - r) and 2 s² (1 - r²). Read off their middle halves, which an event or a spike does not touch either.
    """
    one, two = (float(np.subtract(*np.quantile(value[lag:] - value[:-lag], (0.75, 0.25)))) / 1.349 for lag in (1, 2))
    kinship = float(np.clip((two / one) ** 2 - 1.0, 0.0, WANDERING)) if one > 0 else 0.0
    return one / np.sqrt(2.0 * (1.0 - kinship)), kinship


def _worth(n: Array, kinship: float) -> Array:
    """How many independent numbers have a mean as certain as that of n neighbours of this lag-one correlation."""
    shared = kinship * (n - (1.0 - kinship**n) / (1.0 - kinship)) / (1.0 - kinship)
    return n**2 / (n + 2.0 * shared)


def _bend(value: Array) -> Array:
    """The noise that shows in how a curve bends from one number to the next: a running median over a sixth of it."""
    if len(value) < 3:
        return np.zeros(len(value))
    bend = np.pad(np.abs(np.diff(value, 2)), 1, mode="edge") / (0.6745 * np.sqrt(6.0))
    window = len(value) // 6 // 2 * 2 + 1
    padded = np.pad(bend, window // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1)


def prepare(step: Array, value: Array, stderr: Array | None = None) -> tuple[Curve, float, float] | None:
    """A curve ready for fitting with the offset and unit that standardised it; None where nothing can be said.

    Gaps (NaN) are left out, and many checkpoints taken together: see `measured`. None: fewer than `FEWEST`
    checkpoints, or all values equal.
    """
    s, v, se = measured(step, value, stderr)
    if len(s) < FEWEST or np.ptp(v) <= 1e-12 * max(abs(float(v[0])), 1e-300):
        return None
    offset, unit = float(np.median(v)), float(np.ptp(v))
    floor, expected = FLOOR, np.nan
    if se is not None and np.isfinite(se).any():
        expected = float(np.nanmedian(se)) / unit
        floor = max(floor, 0.3 * expected)
    curve = make_curve(axis(s), (v - offset) / unit, relative_noise(se, len(s)), floor, expected)
    return curve, offset, unit


def spans_magnitudes(value: Array) -> bool:
    """Whether a curve is positive throughout and spans more than two orders of magnitude."""
    known = value[np.isfinite(value)]
    return bool(len(known) and known.min() > 0 and known.max() > SPAN * known.min())
