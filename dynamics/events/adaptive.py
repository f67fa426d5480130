"""Which checkpoints to measure next, so that few of them place the events as well as all would.

First a coarse subset, even on log10(step + 1); then, around every event and every unexplained jump, the
unmeasured checkpoint that splits the gap in which it lies, until no checkpoint is left inside an interval.
What is then left of the budget goes into a finer even subset, which shows what noise hid from the first.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dynamics.events.curve import Event, detect_curve
from dynamics.events.detection import limits, smallest
from dynamics.events.preparation import FEWEST, axis, spans_magnitudes
from dynamics.events.schema import KEYS, as_measurements

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

ENOUGH = 20  # an even subset this large shows noisy events; of short histories half does
ROUND = 4  # measured checkpoints for every one that is asked for at once: each answer changes the next question
JUMP = 0.25  # share of a curve's range that changes inside one gap and is worth a look
WORTH_A_LOOK = 0.05


def coarse_steps(available: Iterable[int], count: int) -> list[int]:
    """About `count` of the available steps, even on log10(step + 1), the first and the last among them."""
    steps = np.unique(np.asarray(list(available), dtype=np.int64))
    if len(steps) <= count:
        return [int(s) for s in steps]
    x = axis(steps)
    left, chosen = set(range(len(steps))), {0, len(steps) - 1}
    for place in np.linspace(x[0], x[-1], count):
        free = left - chosen
        if len(chosen) >= count or not free:
            break
        nearest = min(free | chosen, key=lambda k: abs(x[k] - place))
        chosen.add(nearest)
    while len(chosen) < count:  # early steps are sparse on the log axis: fill the widest remaining gaps
        order = sorted(chosen)
        gaps = [(x[b] - x[a], a, b) for a, b in zip(order, order[1:], strict=False) if b - a > 1]
        _, a, b = max(gaps)
        chosen.add(min(range(a + 1, b), key=lambda k: abs(x[k] - (x[a] + x[b]) / 2)))
    return [int(steps[k]) for k in sorted(chosen)]


def next_steps(
    frame: pl.DataFrame, available_steps: Iterable[int], budget: int, metrics: pl.DataFrame | None = None
) -> list[int]:
    """Steps to measure next, in the order of their importance; empty when done.

    `frame`: measurements so far of one series (empty at the start). `available_steps`: every checkpoint that could
    be measured. `budget`: checkpoints in all, those already measured included. `metrics`: optional bounds,
    `metric, lower, upper`; changes too small for `detect` to report then ask for nothing. Done: the budget is spent,
    or no unmeasured checkpoint lies inside the interval of an event or could decide a jump, and an even subset is
    measured. Call again with the new measurements.
    Raises ValueError for a budget below 8 (an event needs as many).
    """
    if budget < FEWEST:
        msg = f"budget is {budget} checkpoints: expected at least {FEWEST}, below which no event can be told"
        raise ValueError(msg)
    available = np.unique(np.asarray(list(available_steps), dtype=np.int64))
    measured = np.unique(frame["step"].drop_nulls().cast(pl.Int64).to_numpy())
    left = np.setdiff1d(available, measured)
    room = budget - len(measured)
    if room <= 0 or not len(left):
        return []
    missing = [s for s in coarse_steps(available, FEWEST) if s in left]
    if len(measured) < FEWEST and missing:
        return missing[:room]
    wanted = _wanted(as_measurements(frame), measured, left, metrics)
    if not wanted:  # nothing to look at closer: fill an even subset before calling it done
        wanted = _uncovered(available, measured, min(ENOUGH, max(FEWEST, len(available) // 2)))
    return wanted[: min(room, max(1, len(measured) // ROUND))]


def _uncovered(available: Ints, measured: Ints, count: int) -> list[int]:
    """Those of an even subset of `count` steps that no measured step stands in for by being nearer than half way to
    the next."""
    even = np.array(coarse_steps(available, count))
    places = axis(even)
    gaps = np.diff(places, prepend=-np.inf, append=np.inf)
    near = np.abs(places[:, None] - axis(measured)[None, :]).min(axis=1)
    return [int(s) for s in even[near > 0.5 * np.minimum(gaps[:-1], gaps[1:])]]


def _wanted(frame: pl.DataFrame, measured: Ints, left: Ints, metrics: pl.DataFrame | None) -> list[int]:
    """Unmeasured steps by how much curves ask for them."""
    votes: dict[int, float] = {}
    bounds = limits(metrics)
    for key, part in frame.group_by(KEYS, maintain_order=True):
        least = smallest(bounds.get(str(key[1]), (-np.inf, np.inf)), None)
        part = part.sort("step")
        step, value = part["step"].to_numpy(), part["value"].to_numpy().astype(float)
        found = detect_curve(step, value, part["stderr"].to_numpy())
        events = [e for e in found if e.kind != "spike" and e.p_value <= WORTH_A_LOOK and abs(e.magnitude) >= least]
        for event in events:
            for step_, weight in _inside(event, measured, left):
                votes[step_] = votes.get(step_, 0.0) + weight
        for low, high, share in _jumps(step, value, least):
            if not any(e.lower <= high and low <= e.upper for e in events):
                # where the jump is already between neighbours, what stands beside it decides whether it is one
                for step_ in _middle(low, high, left) or _beside(low, high, left):
                    votes[step_] = votes.get(step_, 0.0) + share
    return [s for s, _ in sorted(votes.items(), key=lambda v: -v[1])]


def _middle(low: float, high: float, left: Ints) -> list[int]:
    """The unmeasured step that best halves an open interval, on the log axis."""
    inside = left[(left > low) & (left < high)]
    if not len(inside):
        return []
    ends = axis(np.array([low, high]))
    return [int(inside[int(np.argmin(np.abs(axis(inside) - ends.mean())))])]


def _beside(low: float, high: float, left: Ints) -> list[int]:
    """The nearest unmeasured step on each side of a gap."""
    below, above = left[left < low], left[left > high]
    return [int(side) for side in (*below[-1:], *above[:1])]


def _inside(event: Event, measured: Ints, left: Ints) -> list[tuple[int, float]]:
    """Steps that halve the gaps inside an event's interval, the gap of the midpoint first."""
    inside = measured[(measured > event.lower) & (measured < event.upper)]
    ends = np.unique(np.concatenate([[event.lower], inside, [event.upper]]))
    out = []
    for low, high in zip(ends[:-1], ends[1:], strict=True):
        below, above = measured[measured <= low], measured[measured >= high]
        a = float(below[-1]) if len(below) else low
        b = float(above[0]) if len(above) else high
        holds = low <= event.midpoint <= high
        out.extend((s, 2.0 if holds else 1.0) for s in _middle(a, b, left))
    return out


def _jumps(step: Array, value: Array, least: float) -> list[tuple[float, float, float]]:
    """Gaps in which a curve moves by a visible share of its range, and by far more than it usually does.

    The gap and the share; on the log of the values as well where they span magnitudes.
    """
    known = np.isfinite(value)
    s, v = step[known], value[known]
    if len(v) < 3 or np.ptp(v) <= least:
        return []
    out = []
    for scaled in (v, np.log10(v)) if spans_magnitudes(v) else (v,):
        move, span = np.abs(np.diff(scaled)), float(np.ptp(scaled))
        large = (move > JUMP * span) & (move > 4 * np.median(move))
        out.extend((float(s[k]), float(s[k + 1]), float(move[k]) / span) for k in np.flatnonzero(large))
    return out
