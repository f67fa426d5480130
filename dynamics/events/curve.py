"""Events of one curve."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dynamics.events.interval import bracket
from dynamics.events.kinds import Found, fitted_curve, name_events
from dynamics.events.likelihood import Curve
from dynamics.events.preparation import prepare, spans_magnitudes, steps
from dynamics.events.readings import understand

Array = NDArray[np.float64]

BEFORE_BUMP = 2  # checkpoints that a bump must leave before its onset
SETTLED = 5  # an event is tentative while fewer checkpoints than this follow its completion


@dataclass(frozen=True)
class Event:
    """One event of one curve.

    Places are training steps; before, after and magnitude are in the metric's unit; sharpness is the 10-90 % width
    in decades of step + 1 (full width at half maximum of a bump, 0 for a kink). `scale` is "log" where it was
    found on log10 of the values. `worth` is the gain in twice the log-likelihood.
    """

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
    scale: str = "linear"
    resolved: bool = True
    tentative: bool = False
    note: str = ""


def detect_curve(step: Array, value: Array, stderr: Array | None = None) -> list[Event]:
    """Events of one curve, in order of place.

    `step`, `value`, `stderr`: one number a checkpoint, in any order; NaN values are gaps. Values that are positive
    and span more than two orders of magnitude are looked at on the log as well, and p-values doubled for it.
    Empty where fewer than 8 checkpoints were measured or all values are equal. More than 256 checkpoints are looked at
    as means over even stretches of the log axis, which the note of each event says: what goes up and down again within
    a stretch is not seen.
    Raises ValueError where the arrays differ in length or a step is negative.
    """
    step, value = np.asarray(step, dtype=float), np.asarray(value, dtype=float)
    error = None if stderr is None else np.asarray(stderr, dtype=float)
    lengths = {len(step), len(value), len(value if error is None else error)}
    if len(lengths) > 1:
        msg = f"step, value and stderr have lengths {sorted(lengths)}: expected one number a checkpoint"
        raise ValueError(msg)
    if np.nanmin(step, initial=0.0) < 0:
        msg = f"step {np.nanmin(step)} is negative: expected training steps from 0 on"
        raise ValueError(msg)
    found = _on_scale(step, value, error, "linear")
    if not spans_magnitudes(value):
        return found
    with np.errstate(divide="ignore", invalid="ignore"):
        log_error = None if error is None else error / (value * np.log(10.0))
        on_log = _on_scale(step, np.log10(value), log_error, "log")
    both = _without_repeats(found, on_log)
    return [replace(e, p_value=min(1.0, 2 * e.p_value)) for e in both]


def _on_scale(step: Array, value: Array, stderr: Array | None, scale: str) -> list[Event]:
    prepared = prepare(step, value, stderr)
    if prepared is None:
        return []
    curve, offset, unit = prepared
    explanation = understand(curve)
    smooth = fitted_curve(curve, explanation, spikes=False) * unit + offset
    found = [_event(curve, f, smooth, unit, scale) for f in name_events(curve, explanation) if _is_seen(curve, f)]
    n = int(np.sum(np.isfinite(step) & np.isfinite(value)))
    together = f"{n:,} checkpoints, looked at as the means of {curve.size} stretches of the log axis"
    return found if n == curve.size else [replace(e, note="; ".join(filter(None, (e.note, together)))) for e in found]


def _is_seen(curve: Curve, f: Found) -> bool:
    """A bump goes up and back, so its way up must be seen: what begins before the second checkpoint is the curve's
    own beginning, such as the flat start of a loss before it falls."""
    return f.kind != "bump" or int(np.sum(curve.x <= f.onset)) >= BEFORE_BUMP


def _without_repeats(linear: list[Event], log: list[Event]) -> list[Event]:
    """Events of both scales; of two that are the same change, the one with more evidence."""
    out = list(linear)
    for event in log:
        same = [e for e in out if e.direction == event.direction and e.lower <= event.upper and event.lower <= e.upper]
        if not same:
            out.append(event)
        elif all(event.worth > e.worth for e in same):
            out = [e for e in out if e not in same] + [event]
    return sorted(out, key=lambda e: e.midpoint)


def _levels(curve: Curve, f: Found, smooth: Array) -> tuple[float, float]:
    """The fitted curve before and after an event, where it has hardly begun and has all but ended."""
    left, right = bracket(curve.x, f.middle)
    margin = 0.3 * f.width if f.kind == "transition" else 0.0
    ends = [min(f.onset - margin, left), max(f.completion + margin, right)]
    if f.kind == "kink":
        ends = [f.middle, float(curve.x[-1])]
    before, after = np.interp(ends, curve.x, smooth)
    return float(before), float(after)


def _event(curve: Curve, f: Found, smooth: Array, unit: float, scale: str) -> Event:
    before, after = _levels(curve, f, smooth)
    size, error = f.size * unit, f.size_error * unit
    notes: list[str] = []
    if scale == "log":
        notes.insert(0, f"on log10 of the value, which changes by {size:.3g}")
        before, after = 10.0**before, 10.0**after
        error *= abs(after) * float(np.log(10.0))
        size = after - before
    left, right = bracket(curve.x, f.middle)
    resolved = f.kind != "transition" or f.width > right - left
    if not resolved:
        notes.append("between two checkpoints: sharpness is an upper bound")
    tentative = f.kind != "spike" and int(np.sum(curve.x > f.completion)) < SETTLED
    if tentative:
        notes.append(f"fewer than {SETTLED} checkpoints after it")
    return Event(
        f.kind, "up" if f.sign > 0 else "down", steps(f.onset), steps(f.middle), steps(f.completion),
        steps(f.low), steps(f.high), before, after, size, error, f.width if resolved else right - left,
        f.p_value, f.worth, scale, resolved, tentative, "; ".join(notes),
    )  # fmt: skip
