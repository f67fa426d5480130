"""From the shapes that explain a curve to the events a person would name."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dynamics.events.interval import location
from dynamics.events.likelihood import Curve, coefficient_errors
from dynamics.events.search import Explanation, event_columns
from dynamics.events.shapes import BUMPS, GRADUAL_SHAPES, TRANSITION_WIDTH, Atom, column
from dynamics.events.thresholds import (
    BEND_NEED,
    CORNER_AT_END,
    CORNER_BESIDE,
    CROWDED,
    SHORT_SIDE,
    UNLEVELLED,
    UNMEASURED,
    need,
    p_value,
)

Array = NDArray[np.float64]

LEVEL = ("logistic", "late_tail", "early_tail", "ramp")
MATERIAL = 0.10  # an event moves the curve by at least this share of its range
# In a loss that falls from 11 to 3, half a nat within a decade is a twentieth of the range and a third of the change.
MATERIAL_NEAR, LOCAL = 0.03, 0.25
SPIKE_LEAD = 2.0  # a spike stands out from the largest other residual by this factor
WIDEST_HALT = 1.6  # decades
TAILS = 1.0
SPIKE_LENGTH, SPIKE_FOOT = 2, 0.2  # a bump of which at most two checkpoints reach a fifth of its height is a spike
FLAT = 0.2  # a side is flat when its slope is at most this share of the other's


@dataclass(frozen=True)
class Found:
    """One event in decades of x and standardised values; `parts` are the indices of its atoms."""

    kind: str
    sign: int
    onset: float
    middle: float
    completion: float
    low: float
    high: float
    size: float
    size_error: float
    width: float
    worth: float
    parts: tuple[int, ...]
    need: float = 0.0
    p_value: float = 1.0


def _coefficients(explanation: Explanation) -> Array:
    """Coefficient of each atom."""
    n = len(explanation.atoms)
    return explanation.fit.coefficients[-n:] if n else np.empty(0)


def _null_curve(curve: Curve, explanation: Explanation) -> Array:
    chosen = list(curve.null_sets[explanation.fit.null])
    return curve.null[:, chosen] @ explanation.fit.coefficients[: len(chosen)]


def fitted_curve(curve: Curve, explanation: Explanation, *, spikes: bool = True) -> Array:
    """The explained curve in standardised values, with or without its spikes."""
    out = _null_curve(curve, explanation)
    for value, atom in zip(_coefficients(explanation), explanation.atoms, strict=True):
        if spikes or atom.shape != "spike":
            out = out + value * column(curve.x, atom)
    return out


def half_width(atom: Atom) -> float:
    if atom.shape == "relaxation":
        return 0.67
    return 0.4 * atom.width if atom.shape == "ramp" else 0.5 * atom.width


def _against_trend(curve: Curve, explanation: Explanation, which: int) -> bool:
    """Whether a level change cancels the trend around it: the curve halts there, it does not jump."""
    atom, values = explanation.atoms[which], _coefficients(explanation)
    rest = fitted_curve(curve, explanation, spikes=False) - values[which] * column(curve.x, atom)
    half = max(half_width(atom) / 0.8, 0.05)
    if atom.middle - half < curve.x[0] + 0.2 or atom.middle + half > curve.x[-1] - 0.2:
        return False
    ends = np.interp([atom.middle - half, atom.middle + half], curve.x, rest)
    trend = float(ends[1] - ends[0])
    net = trend + float(values[which])
    return trend * values[which] < 0 and abs(net) < 0.55 * abs(trend)


def name_of(curve: Curve, explanation: Explanation, which: int) -> str:
    atom = explanation.atoms[which]
    if atom.shape in LEVEL:
        if _against_trend(curve, explanation, which):
            return "plateau"
        return "transition" if 2 * half_width(atom) < TRANSITION_WIDTH else "gradual"
    halts = atom.shape == "relaxation" or (atom.shape == "wide" and atom.width <= WIDEST_HALT)
    if halts and _against_trend(curve, explanation, which):
        return "plateau"
    if atom.shape in BUMPS and int(np.sum(column(curve.x, atom) > SPIKE_FOOT)) <= SPIKE_LENGTH:
        return "spike"
    return {**dict.fromkeys(BUMPS, "bump"), "hinge": "kink", "spike": "spike"}.get(atom.shape, "gradual")


def _single(curve: Curve, explanation: Explanation, which: int) -> Found:
    atom = explanation.atoms[which]
    values = _coefficients(explanation)
    errors = coefficient_errors(curve, event_columns(curve, list(explanation.atoms)), explanation.fit)[-len(values) :]
    kind = name_of(curve, explanation, which)
    middle, low, high = location(curve, list(explanation.atoms), which, explanation.fit)
    half, size = half_width(atom), float(values[which])
    if atom.shape == "relaxation":
        middle -= 0.16  # tau is where 63 % are done; half are done at tau ln 2
    error, sign = float(errors[which]), int(np.sign(size))
    if atom.shape == "spike":
        first, last = int(atom.middle), int(atom.middle + round(atom.width)) - 1
        middle, half = float(np.mean(curve.x[first : last + 1])), float(curve.x[last] - curve.x[first]) / 2
    if kind == "bump":
        half = 0.91 * atom.width
    if kind == "kink":
        half, span = 0.0, float(curve.x[-1] - atom.middle)
        size, error = size * span, error * span
    if kind == "plateau":
        sign = -sign
    width = 2 * half if kind != "bump" else atom.width
    worth = explanation.worth[which]
    return Found(kind, sign, middle - half, middle, middle + half, low, high, size, error, width, worth, (which,))


def _join(a: Found, b: Found) -> Found | None:
    """One event where two shapes describe it, or None where they are two."""
    first, second = (a, b) if a.middle <= b.middle else (b, a)
    apart, ratio = second.middle - first.middle, abs(first.size) / max(abs(second.size), 1e-12)
    parts, worth = (*first.parts, *second.parts), max(a.worth, b.worth)
    strong = a if a.worth >= b.worth else b
    if a.kind == b.kind == "transition" and a.sign != b.sign and apart < 0.7 and 0.5 < ratio < 2:
        middle = (first.middle + second.middle) / 2
        size = first.sign * (abs(first.size) + abs(second.size)) / 2
        return Found(
            "bump",
            first.sign,
            first.onset,
            middle,
            second.completion,
            first.low,
            second.high,
            size,
            max(a.size_error, b.size_error),
            apart,
            worth,
            parts,
        )
    close = apart < max(0.6 * (a.width + b.width) / 2 + 0.05, 0.12)
    if close and a.kind == b.kind == "transition" and a.sign == b.sign:
        wide = replace(strong, onset=min(a.onset, b.onset), completion=max(a.completion, b.completion))
        return replace(wide, size=a.size + b.size, width=wide.completion - wide.onset, parts=parts, worth=worth)
    near = apart < max(a.width, b.width, 0.15) / 2 + 0.1
    if near and "spike" not in (a.kind, b.kind):
        return replace(strong, parts=parts)
    return None


def _judged(curve: Curve, explanation: Explanation, found: Found) -> Found:
    """The event with the worth that it must have, and how often curves without events yield as much."""
    asked = _need(curve, explanation, found)
    wanders = curve.noise.models[explanation.null.noise].family >= 0
    return replace(found, need=asked, p_value=p_value(found.worth - asked, curve.size, wanders=wanders))


def _need(curve: Curve, explanation: Explanation, found: Found) -> float:
    """Worth that this event must have to be reported."""
    asked = need(found.kind, curve.size) + (0.0 if curve.expected > 0 else UNMEASURED)
    if found.kind == "transition":
        levelled = curve.x[0] <= found.onset and found.completion <= curve.x[-1]
        events = sum(a.is_event for a in explanation.atoms)
        return asked + (0.0 if levelled else UNLEVELLED) + CROWDED * max(events - 2, 0)
    if found.kind != "kink":
        return asked
    if min(found.middle - curve.x[0], curve.x[-1] - found.middle) < SHORT_SIDE:
        asked += CORNER_AT_END
    if not _sets_in_or_stops(curve, explanation, found):
        return BEND_NEED
    beside = any(a.is_event and a.shape not in ("hinge", "spike") for a in explanation.atoms)
    return asked + CORNER_BESIDE * beside


def _sets_in_or_stops(curve: Curve, explanation: Explanation, found: Found) -> bool:
    """Whether a change of slope has a flat side: steady change that sets in, or that ends. Other kinks only bend."""
    values = _coefficients(explanation)
    smooth = _null_curve(curve, explanation)
    for value, atom in zip(values, explanation.atoms, strict=True):
        if atom.shape in ("hinge", *GRADUAL_SHAPES):
            smooth = smooth + value * column(curve.x, atom)
    corners = [a.middle for a in explanation.atoms if a.shape == "hinge"]
    left = max([curve.x[0], *(c for c in corners if c < found.middle - 0.05)])
    right = min([curve.x[-1], *(c for c in corners if c > found.middle + 0.05)])
    at = np.interp([left, found.middle, right], curve.x, smooth)
    before = abs(at[1] - at[0]) / max(found.middle - left, 1e-9)
    after = abs(at[2] - at[1]) / max(right - found.middle, 1e-9)
    return bool(min(before, after) <= FLAT * max(before, after))


def heavy_tailed(curve: Curve, explanation: Explanation) -> bool:
    """Whether Student's t with 3 degrees of freedom explains the residuals better than normal noise with the spikes.

    Each spike is charged twice the log of the number of places it could have had. Where what the spikes leave is
    heavy-tailed too, they were its largest.
    """
    spikes = [k for k, a in enumerate(explanation.atoms) if a.shape == "spike"]
    if not spikes:
        return False
    table = event_columns(curve, list(explanation.atoms))
    values = _coefficients(explanation)
    clean = curve.y - _null_curve(curve, explanation) - table @ values
    spiked = clean + table[:, spikes] @ values[spikes]
    if curve.scale is not None:
        clean, spiked = clean / curve.scale, spiked / curve.scale
    quiet = clean[table[:, spikes].max(axis=1) < 0.5]
    if _student(quiet, curve.floor) > _normal(quiet, curve.floor) + TAILS:
        return True
    return _student(spiked, curve.floor) > _normal(clean, curve.floor) - 2 * np.log(curve.size) * len(spikes)


def _normal(residual: Array, floor: float) -> float:
    """Twice the log-likelihood of normal noise at its best width."""
    return -len(residual) * float(np.log(max(float(np.mean(residual**2)), floor**2)) + np.log(2 * np.pi * np.e))


def _student(residual: Array, floor: float) -> float:
    """Twice the log-likelihood of Student's t with 3 degrees of freedom at its best width."""
    widths = max(float(np.median(np.abs(residual))), 0.3 * floor) * np.geomspace(0.5, 3.0, 25)
    return max(float(2 * np.sum(stats.t.logpdf(residual / w, 3)) - 2 * len(residual) * np.log(w)) for w in widths)


def _material(curve: Curve, explanation: Explanation, found: Found) -> bool:
    """Whether the event moves the curve by a visible share of its range or of what goes on around it."""
    if found.kind == "spike":
        left = np.abs(curve.y - fitted_curve(curve, explanation))
        return abs(found.size) >= SPIKE_LEAD * float(left.max())
    smooth = fitted_curve(curve, explanation, spikes=False)
    share = abs(found.size) / max(float(np.ptp(smooth)), 1e-12)
    if found.kind == "plateau" and share > 1.0:  # a halt withholds a part of a change, not more than there is of it
        return False
    near = np.interp(np.linspace(found.onset - 0.5, found.completion + 0.5, 21), curve.x, smooth)
    local = abs(found.size) / max(float(np.ptp(near)), 1e-12)
    return share >= MATERIAL or (share >= MATERIAL_NEAR and local >= LOCAL)


def name_events(curve: Curve, explanation: Explanation) -> list[Found]:
    """Typed events of an explained curve, in order of place; gradual changes and immaterial ones are left out."""
    found = [_single(curve, explanation, k) for k, a in enumerate(explanation.atoms)]
    found = [_judged(curve, explanation, f) for f in found if f.kind != "gradual"]
    found = [f for f in found if f.worth >= f.need]
    found = [f for f in found if _material(curve, explanation, f)]
    if heavy_tailed(curve, explanation):
        found = [f for f in found if f.kind != "spike"]
    return sorted(_join_all(found), key=lambda f: f.middle)


def _join_all(found: list[Found]) -> list[Found]:
    for i in range(len(found)):
        for j in range(i + 1, len(found)):
            joined = _join(found[i], found[j])
            if joined is not None:
                return _join_all([*(f for k, f in enumerate(found) if k not in (i, j)), joined])
    return found
