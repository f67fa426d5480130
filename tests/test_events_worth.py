"""What an event must be worth to be reported, and how often curves without events yield as much."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dynamics.events import detect_curve
from dynamics.events.kinds import Found, name_events
from dynamics.events.preparation import prepare
from dynamics.events.readings import understand
from dynamics.events.thresholds import (
    BEND_NEED,
    CORNER_AT_END,
    CORNER_BESIDE,
    CROWDED,
    UNLEVELLED,
    UNMEASURED,
    need,
    p_value,
)

Array = NDArray[np.float64]
STEPS = np.unique(np.round(np.logspace(0, 5, 120)))
X = np.log10(STEPS + 1)
NOISE = 0.01 * np.random.default_rng(0).normal(size=len(X))


def rise(middle: float, width: float = 0.25) -> Array:
    return 1 / (1 + np.exp(-(X - middle) * 4.394 / width))


def found(curve: Array, *, measured: bool = True) -> list[Found]:
    """The events of a curve as they are judged."""
    prepared = prepare(STEPS, curve + NOISE, np.full(len(X), 0.01) if measured else None)
    assert prepared is not None
    return name_events(prepared[0], understand(prepared[0]))


def test_a_level_change_alone_needs_what_its_kind_needs_and_more_without_standard_errors() -> None:
    asked = need("transition", len(X))
    assert [f.need for f in found(rise(2.5))] == [asked]
    assert [f.need for f in found(rise(2.5), measured=False)] == [asked + UNMEASURED]


def test_a_level_change_that_has_begun_before_the_first_checkpoint_needs_more() -> None:
    (early,) = found(rise(X[0] + 0.25, 0.6))
    assert early.onset < X[0]
    assert early.need == need("transition", len(X)) + UNLEVELLED


def test_each_of_many_level_changes_needs_more() -> None:
    three = found(rise(1.2) + rise(2.6) + rise(4.0))
    assert [f.kind for f in three] == ["transition"] * 3
    assert {f.need for f in three} == {need("transition", len(X)) + CROWDED}


@pytest.mark.parametrize(
    ("curve", "more"),
    [
        (np.maximum(X - 2.5, 0), 0.0),
        (8 * np.maximum(X - (X[-1] - 0.3), 0), CORNER_AT_END),
        (np.maximum(X - 3.2, 0) - 3 * rise(1.5), CORNER_BESIDE),
    ],
)
def test_a_corner_needs_more_near_an_end_and_beside_other_events(curve: Array, more: float) -> None:
    (corner,) = (f for f in found(curve) if f.kind == "kink")
    assert corner.need == need("kink", len(X)) + more


def test_a_bend_needs_more_than_a_steady_change_that_sets_in() -> None:
    (bend,) = found(0.5 * X + np.maximum(X - 2.5, 0))
    assert bend.kind == "kink"
    assert bend.need == BEND_NEED > need("kink", len(X))


def test_a_rise_on_a_steep_trend_is_one_level_change_and_no_bump() -> None:
    fall = -rise(3.2, 0.4) + 4 * 10 ** (-0.3 * X)
    noise = 0.12 * np.random.default_rng(3).normal(size=len(X))
    events = detect_curve(STEPS, fall + noise, np.full(len(X), 0.12))
    assert [(e.kind, e.direction) for e in events] == [("transition", "down")]


def test_a_wandering_curve_yields_more_by_chance_and_less_so_with_many_checkpoints() -> None:
    quiet = p_value(0.0, 24, wanders=False)
    wander = [p_value(0.0, size, wanders=True) for size in (24, 60, 150)]
    assert quiet < wander[2] < wander[1] < wander[0] < 0.2
    assert p_value(5.0, 24, wanders=True) < wander[0] / 2
