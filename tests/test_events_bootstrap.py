"""p-values from a curve's own null, and what a shape is read as."""

from __future__ import annotations

import numpy as np
import pytest

from dynamics.events import bootstrap, detect_curve

STEPS = np.unique(np.round(np.logspace(0, 5, 16)))
X = np.log10(STEPS + 1)


def rise(seed: int = 0) -> np.ndarray:
    return 1 / (1 + np.exp(-(X - 3.0) * 15)) + np.random.default_rng(seed).normal(0, 0.03, len(X))


def test_a_clear_rise_is_as_sure_as_the_draws_allow_and_the_same_twice():
    (event,) = bootstrap(STEPS, rise(), draws=9)
    assert event.p_value == pytest.approx(0.1)
    assert bootstrap(STEPS, rise(), draws=9) == [event]
    assert (event.kind, event.midpoint) == [(e.kind, e.midpoint) for e in detect_curve(STEPS, rise())][0]


def test_a_curve_without_events_draws_nothing():
    noise = np.random.default_rng(1).normal(0, 0.03, len(X))
    assert bootstrap(STEPS, noise, draws=9) == detect_curve(STEPS, noise) == []


def test_drawings_are_asked_for():
    with pytest.raises(ValueError, match="draws is 0: expected at least 1"):
        bootstrap(STEPS, rise(), draws=0)


def test_a_steady_change_up_to_the_last_checkpoint_is_a_corner():
    steps = np.arange(120, dtype=np.float64) * 1000
    x = np.log10(steps + 1)
    value = np.maximum(x - 4.3, 0) + np.random.default_rng(0).normal(0, 0.03, len(x))
    (event,) = detect_curve(steps, value, np.full(len(x), 0.03))
    assert event.kind == "kink"
    assert event.lower <= 10**4.3 <= event.upper


def test_two_steps_up_and_a_level_between_are_no_bump():
    steps = np.arange(101, dtype=np.float64) * 20
    value = 0.5 + 0.25 * (steps > 1050) + 0.25 / (1 + np.exp(-(steps - 1280) / 15))
    value += np.where(steps < 1350, np.random.default_rng(0).normal(0, 0.007, len(steps)), 0)
    value[[53, 57]] -= 0.1
    found = [e for e in detect_curve(steps, value) if e.kind != "spike"]
    assert {(e.kind, e.direction) for e in found} >= {("transition", "up")}
