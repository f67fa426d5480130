"""The shapes that a training curve can take on x = log10(step + 1), and the dictionary of them for one grid.

Event shapes: `logistic` (and its two asymmetric relatives), `bump`, `hinge`, `ramp`, `spike`. Gradual shapes:
exponential relaxation, saturating power law, wide logistic, wide bend. All distances are in decades of x.
A level change is a transition when its 10-90 % width is below `TRANSITION_WIDTH`; first-order relaxation
1 - exp(-step / tau) has width 1.34 whatever tau is, so an event is more concentrated in log-time than relaxation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TRANSITION_WIDTH = 1.0
_LN9 = float(np.log(9.0))
# Gompertz exp(-exp(-z)): z at 10 % is -0.834, at 50 % 0.3665, at 90 % 2.250.
_GOMPERTZ_MID = 0.3665
_GOMPERTZ_SPAN = 3.0844

EVENT_SHAPES = ("logistic", "late_tail", "early_tail", "bump", "late_bump", "early_bump", "hinge", "ramp", "spike")
BUMP_FOOT = 0.7  # of the full width at half maximum: both feet of a bump must be seen
BUMPS = ("bump", "late_bump", "early_bump")
# "edge": the first or the last checkpoint alone is off; nothing beside it can say when that came about
GRADUAL_SHAPES = ("relaxation", "power", "wide", "bend", "edge")
GROUPS = (("logistic", "late_tail", "early_tail"), BUMPS, ("ramp",), ("hinge",), ("spike",), GRADUAL_SHAPES)


@dataclass(frozen=True)
class Atom:
    """One shape at one place, in decades of x; of a spike or an edge, its first index and its length."""

    shape: str
    middle: float
    width: float

    @property
    def is_event(self) -> bool:
        return self.shape in EVENT_SHAPES


def _logistic(z: Array, w: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-np.clip(z * 2 * _LN9 / w, -60, 60)))


def _gompertz(z: Array, w: Array) -> Array:
    return np.exp(-np.exp(-np.clip(z * _GOMPERTZ_SPAN / w + _GOMPERTZ_MID, -30, 60)))


def _bend(z: Array, w: Array) -> Array:
    return w / (2 * _LN9) * np.logaddexp(0.0, z * 2 * _LN9 / w)


# Shapes that depend on the distance z from their middle and on their width w alone.
_FORMS: dict[str, Callable[[Array, Array], Array]] = {
    "logistic": _logistic,
    "wide": _logistic,
    "late_tail": _gompertz,
    "early_tail": lambda z, w: 1.0 - _gompertz(-z, w),
    "bump": lambda z, w: np.exp(-4 * np.log(2.0) * (z / w) ** 2),
    "late_bump": lambda z, w: np.exp(-4 * np.log(2.0) * (z / (w * np.where(z < 0, 0.667, 1.333))) ** 2),
    "early_bump": lambda z, w: np.exp(-4 * np.log(2.0) * (z / (w * np.where(z < 0, 1.333, 0.667))) ** 2),
    "hinge": lambda z, w: np.maximum(z, 0.0),
    "ramp": lambda z, w: np.clip(z / w + 0.5, 0.0, 1.0),
    "bend": _bend,
}


def columns(x: Array, shape: str, middle: Array, width: Array) -> Array:
    """Evaluate one shape at many places: `[n_checkpoints, n_places]`, levels from 0 to 1 (slopes: 1 per decade).

    Raises ValueError for an unknown shape.
    """
    m, w = np.atleast_1d(middle)[None, :], np.maximum(np.atleast_1d(width), 1e-6)[None, :]
    if shape in _FORMS:
        return _FORMS[shape](x[:, None] - m, w)
    since = 10.0 ** x[:, None] - 1.0  # training steps
    if shape == "relaxation":
        return 1.0 - np.exp(-np.minimum(since / 10.0**m, 700.0))
    if shape == "power":
        return 1.0 - (1.0 + since / 10.0**m) ** -w
    if shape in ("spike", "edge"):
        index = np.arange(len(x))[:, None]
        return ((index >= m) & (index < m + np.round(w))).astype(float)
    msg = f"unknown shape {shape!r}: expected one of {EVENT_SHAPES + GRADUAL_SHAPES}"
    raise ValueError(msg)


def column(x: Array, atom: Atom) -> Array:
    """Evaluate one atom on the grid: `[n_checkpoints]`."""
    return columns(x, atom.shape, np.array([atom.middle]), np.array([atom.width]))[:, 0]


@dataclass(frozen=True)
class Dictionary:
    """All candidate shapes of one grid: their columns and, in the same order, what they are."""

    matrix: Array  # [n_checkpoints, n_atoms]
    atoms: tuple[Atom, ...]
    is_event: NDArray[np.bool_]
    group: NDArray[np.int64]  # index into GROUPS


def _places(x: Array, spacing: float, support: int) -> Array:
    """Midpoints every `spacing` decades that have `support` checkpoints on each side."""
    low, high = x[support - 1], x[-support]
    if high <= low:
        return np.empty(0)
    return np.arange(low + spacing / 2, high, spacing)


def complete(x: Array, middle: Array, width: Array, foot: float = 0.45) -> NDArray[np.bool_]:
    """Whether a change has mostly happened inside the grid: one still going on at its end has no level after."""
    inside = (middle >= x[1]) & (middle <= x[-2])
    early = 0.15 if foot < BUMP_FOOT else 0.0
    return inside & (middle + foot * width <= x[-1]) & (middle - foot * width >= x[0] - early)


def _wanted(x: Array, support: int) -> list[tuple[str, Array, Array]]:
    """Shape, midpoints, widths of every family of candidates."""
    out: list[tuple[str, Array, Array]] = []

    def add(shape: str, spacing: float, width: float, keep: int = support) -> None:
        middle = _places(x, spacing, keep)
        if shape in EVENT_SHAPES:
            middle = middle[complete(x, middle, np.array(width), BUMP_FOOT if shape in BUMPS else 0.45)]
        out.append((shape, middle, np.full(len(middle), width)))

    # a change between two neighbouring checkpoints: its place inside the gap is not identified
    steps = (x[support - 1 : -support] + x[support : len(x) - support + 1]) / 2
    out.append(("logistic", steps, np.full(len(steps), 1e-3)))
    for width, spacing in ((0.12, 0.05), (0.22, 0.07), (0.38, 0.1), (0.6, 0.14), (0.85, 0.18)):
        add("logistic", spacing, width)
        if width >= 0.22:
            add("late_tail", spacing * 1.3, width)
            add("early_tail", spacing * 1.3, width)
    for width in (0.2, 0.32, 0.5, 0.75):
        add("bump", width / 5, width)
    for width in (0.5, 0.75, 1.0, 1.3):
        add("ramp", 0.12, width)
    add("hinge", 0.07, 0.0, support + 2)
    for width in (1.15, 1.5, 2.0):
        add("wide", 0.3, width)
    add("bend", 0.4, 1.4)
    add("bend", 0.5, 2.2)
    tau = np.arange(x[0] + 0.3, x[-1] + 0.6, 0.15)
    out.append(("relaxation", tau, np.ones(len(tau))))
    for exponent in (0.3, 0.6, 1.0):
        out.append(("power", tau[::2], np.full(len(tau[::2]), exponent)))
    out.append(("edge", np.array([0.0, len(x) - 1.0]), np.ones(2)))
    first = np.arange(2.0, len(x) - 2)
    out.append(("spike", first, np.ones(len(first))))
    out.append(("spike", first[:-1], np.full(max(len(first) - 1, 0), 2.0)))
    return out


def _informative(x: Array, matrix: Array, families: list[tuple[str, Array, Array]]) -> NDArray[np.bool_]:
    """Leave out bumps and ramps that too few checkpoints see, and columns that are flat on this grid."""
    ok = np.ptp(matrix, axis=0) > 1e-3
    start = 0
    for shape, middle, width in families:
        stop = start + len(middle)
        if shape in ("bump", "ramp"):
            half = (0.5 if shape == "ramp" else 0.75) * width
            inside = (np.abs(x[:, None] - middle[None, :]) < half[None, :]).sum(axis=0)
            ok[start:stop] &= inside >= 3
        start = stop
    return ok


@lru_cache(maxsize=64)
def _dictionary(key: bytes, support: int) -> Dictionary:
    x = np.frombuffer(key)
    families = [f for f in _wanted(x, support) if len(f[1])]
    matrix = np.concatenate([columns(x, *f) for f in families], axis=1)
    keep = _informative(x, matrix, families)
    named = [Atom(s, float(a), float(b)) for s, ms, ws in families for a, b in zip(ms, ws, strict=True)]
    atoms = tuple(a for a, k in zip(named, keep, strict=True) if k)
    is_event = np.array([a.is_event for a in atoms], dtype=bool)
    group = np.array([next(k for k, g in enumerate(GROUPS) if a.shape in g) for a in atoms], dtype=np.int64)
    return Dictionary(np.ascontiguousarray(matrix[:, keep]), atoms, is_event, group)


def dictionary(x: Array, support: int) -> Dictionary:
    """The candidates of a grid, with `support` checkpoints on each side of a level change. Cached by grid."""
    return _dictionary(np.ascontiguousarray(x, dtype=float).tobytes(), support)
