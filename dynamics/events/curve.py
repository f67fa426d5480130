"""Events of one curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamics.events.kinds import Found, name_events
from dynamics.events.likelihood import Curve, make_curve
from dynamics.events.search import explain
from dynamics.events.shapes import dictionary

Array = NDArray[np.float64]

FEWEST = 8
FLOOR = 0.01  # noise sd is never below this share of the curve's range


@dataclass(frozen=True)
class Event:
    """One event of one curve: steps in training steps, sizes in the metric's unit, sharpness in decades."""

    kind: str
    direction: str
    onset: float
    midpoint: float
    completion: float
    lower: float
    upper: float
    before: float
    after: float
    magnitude: float
    magnitude_stderr: float
    sharpness: float
    p_value: float
    worth: float


def axis(step: Array) -> Array:
    """Place of a step on the log axis, in decades: log10(step + 1)."""
    return np.log10(np.asarray(step, dtype=float) + 1.0)


def _steps(x: float) -> float:
    return max(10.0**x - 1.0, 0.0)


def relative_noise(stderr: Array | None, size: int) -> Array | None:
    """Relative noise of each checkpoint from its standard errors; None where they say that it is even.

    Only the shape of the standard errors is used: their level misses checkpoint-to-checkpoint noise, and
    overstates it where all checkpoints share their evaluation examples.
    """
    if stderr is None or not np.isfinite(stderr).any() or np.nanmax(stderr) <= 0:
        return None
    known = np.where(np.isfinite(stderr) & (stderr > 0), stderr, np.nan)
    typical = float(np.nanmedian(known))
    log = np.log(np.clip(np.nan_to_num(known / typical, nan=1.0), 0.2, 5.0))
    window = max(size // 6, 3) // 2 * 2 + 1
    pad = np.pad(log, window // 2, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(pad, window), axis=1)
    if np.ptp(smooth) < np.log(1.6):
        return None
    scale = np.exp(smooth)
    return scale / np.sqrt(np.mean(scale**2))


def prepare(step: Array, value: Array, stderr: Array | None = None) -> tuple[Curve, float, float] | None:
    """A curve ready for fitting with the offset and unit that standardised it; None where nothing can be said.

    Gaps (NaN) are left out. None: fewer than `FEWEST` checkpoints, or all values equal.
    """
    keep = np.isfinite(step) & np.isfinite(value)
    order = np.argsort(step[keep], kind="stable")
    s, v = step[keep][order], value[keep][order]
    se = None if stderr is None else np.asarray(stderr, dtype=float)[keep][order]
    if len(s) < FEWEST or np.ptp(v) <= 1e-12 * max(abs(float(v[0])), 1e-300):
        return None
    offset, unit = float(np.median(v)), float(np.ptp(v))
    floor, expected = FLOOR, np.nan
    if se is not None and np.isfinite(se).any():
        expected = float(np.nanmedian(se)) / unit
        floor = max(floor, 0.3 * expected)
    curve = make_curve(axis(s), (v - offset) / unit, relative_noise(se, len(s)), floor, expected)
    return curve, offset, unit


def p_value(worth: float, size: int) -> float:
    """Chance that a curve without events yields one worth this much, from the simulated tail."""
    return float(min(1.0, 40.0 * np.exp(-0.42 * worth)))


def detect_curve(step: Array, value: Array, stderr: Array | None = None) -> list[Event]:
    """Events of one curve, in order of place.

    `step`, `value`, `stderr`: one number a checkpoint; NaN values are gaps. Empty where fewer than 8
    checkpoints were measured or all values are equal.
    """
    step, value = np.asarray(step, dtype=float), np.asarray(value, dtype=float)
    prepared = prepare(step, value, stderr)
    if prepared is None:
        return []
    curve, offset, unit = prepared
    support = 3 if curve.size >= 16 else 2
    explanation = explain(curve, dictionary(curve.x, support))
    return [_event(curve, f, offset, unit) for f in name_events(curve, explanation)]


def _event(curve: Curve, f: Found, offset: float, unit: float) -> Event:
    around = np.interp([f.onset, f.completion], curve.x, curve.y) * unit + offset
    return Event(
        f.kind, "up" if f.sign > 0 else "down", _steps(f.onset), _steps(f.middle), _steps(f.completion),
        _steps(f.low), _steps(f.high), float(around[0]), float(around[1]), f.size * unit, f.size_error * unit,
        f.width, p_value(f.worth, curve.size), f.worth,
    )
