"""Where an event surely is: profile likelihood of its place, widened for what the model leaves out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dynamics.events.likelihood import Curve, Fit, candidates_of, evaluate, gains
from dynamics.events.search import event_columns
from dynamics.events.shapes import BUMPS, Atom, columns

Array = NDArray[np.float64]

DROP = 4.2  # fall in score (twice log-likelihood) that bounds the 95 % interval; chi-squared would say 3.84
SHAPES_TRIED = {"logistic": ("logistic", "late_tail", "early_tail"), "ramp": ("ramp",), **dict.fromkeys(BUMPS, BUMPS)}
WIDTHS = np.array([1e-3, 0.06, 0.12, 0.2, 0.3, 0.45, 0.65, 0.9])


def bracket(x: Array, place: float) -> tuple[float, float]:
    """The two checkpoints between which `place` lies (the ends of the grid when it lies outside)."""
    right = int(np.clip(np.searchsorted(x, place, side="left"), 1, len(x) - 1))
    return float(x[right - 1]), float(x[right])


def location(curve: Curve, atoms: list[Atom], which: int, fit: Fit) -> tuple[float, float, float]:
    """Place of atom `which` in decades of x, and its 95 % interval.

    The place is the mean of the likelihood over places. The interval is never narrower than the gap between the
    checkpoints that bracket the place: inside it nothing was seen.
    """
    atom = atoms[which]
    low, high = bracket(curve.x, atom.middle)
    if atom.shape == "hinge":  # a corner beside a checkpoint may lie on either side of it
        near = 0.15 * (high - low)
        low, high = bracket(curve.x, atom.middle - near)[0], bracket(curve.x, atom.middle + near)[1]
    if atom.shape == "spike":
        first = int(atom.middle)
        last = min(first + round(atom.width), curve.size - 1)
        return float(atom.middle), float(curve.x[max(first - 1, 0)]), float(curve.x[last])
    reach = max(0.6 * atom.width, 1.5 * (high - low), 0.5 if atom.shape == "hinge" else 0.12)
    inside, places, profile = np.empty(0), np.empty(0), np.empty(0)
    for _ in range(3):  # until both ends of the interval have been seen
        places, profile = _profile(curve, atoms, which, fit, reach)
        inside = places[profile >= profile.max() - DROP]
        if inside.min() > places[0] and inside.max() < places[-1]:
            break
        reach *= 2
    slack = 0.02 * atom.width + 0.05 * (high - low)
    first = max(float(inside.min()) - slack, float(curve.x[0]))
    last = min(float(inside.max()) + slack, float(curve.x[-1]))
    weight = np.exp((profile - profile.max()) / 2)
    mean = float(np.sum(weight * places) / np.sum(weight))
    return mean, min(low, first), max(high, last)


def _profile(curve: Curve, atoms: list[Atom], which: int, fit: Fit, reach: float) -> tuple[Array, Array]:
    """Best score over shapes, widths and null means at each place around the atom.

    A wide change and the trend under it share what the curve does: under another trend it lies elsewhere. A corner
    is a change of the trend itself, and keeps the trend it was found with.
    """
    atom = atoms[which]
    others = event_columns(curve, [a for k, a in enumerate(atoms) if k != which])
    near = fit.scores[fit.noise] >= fit.score - DROP
    nulls = np.flatnonzero(near) if atom.shape != "hinge" else np.array([fit.null])
    without = evaluate(curve, others).scores[fit.noise, nulls]
    pairs = [(fit.noise, int(null)) for null in nulls]
    places = np.clip(atom.middle + reach * np.linspace(-1, 1, 41), curve.x[0], curve.x[-1])
    family = "logistic" if atom.shape in SHAPES_TRIED["logistic"] else atom.shape
    best = np.full(len(places), -np.inf)
    for shape in SHAPES_TRIED.get(family, (family,)):
        widths = np.array([atom.width]) * np.array([0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0])
        if family == "logistic":
            widths = WIDTHS
        mm, ww = np.meshgrid(places, widths if atom.shape != "hinge" else np.zeros(1), indexing="ij")
        tried = candidates_of(curve, columns(curve.x, shape, mm.ravel(), ww.ravel()), [fit.noise])
        total = np.max(gains(curve, tried, others, pairs) + without[:, None], axis=0)
        best = np.maximum(best, total.reshape(mm.shape).max(axis=1))
    return places, best
