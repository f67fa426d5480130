"""Events of one curve: what was put in must come out, and nothing where nothing was put in."""

from __future__ import annotations

import numpy as np
import pytest

from dynamics.events import detect_curve
from dynamics.events.preparation import MOST, measured

PYTHIA = np.array([0, *2 ** np.arange(10), *range(1000, 144000, 1000)], dtype=float)
LOG = np.unique(np.round(np.logspace(0, 5, 60)))


def x_of(step):
    return np.log10(step + 1)


def rise(step, middle, width):
    """A logistic level change from 0 to 1 with its 10-90 % width in decades."""
    return 1 / (1 + np.exp(-(x_of(step) - middle) * 2 * np.log(9) / width))


def noisy(value, sigma, seed=0):
    return value + np.random.default_rng(seed).normal(0, sigma, len(value))


@pytest.mark.parametrize(
    "step", [PYTHIA, LOG, LOG[::3], np.arange(100) * 500.0], ids=["pythia", "log", "short", "even"]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_transition_is_found_where_it_was_put(step, sign):
    (event,) = detect_curve(step, noisy(sign * 0.5 * rise(step, 4.2, 0.3) + 2, 0.02), np.full(len(step), 0.02))
    assert event.kind == "transition"
    assert event.direction == ("up" if sign > 0 else "down")
    assert event.lower <= 10**4.2 - 1 <= event.upper
    assert abs(np.log10(event.midpoint + 1) - 4.2) < 0.1
    assert event.onset < event.midpoint < event.completion
    assert event.magnitude == pytest.approx(sign * 0.5, abs=0.05)
    assert (event.before, event.after) == (pytest.approx(2, abs=0.05), pytest.approx(2 + sign * 0.5, abs=0.05))
    assert 0 < event.magnitude_stderr < 0.05
    assert event.p_value < 0.01


def test_the_interval_is_never_narrower_than_the_gap_that_brackets_it():
    for seed in range(6):
        (event,) = detect_curve(PYTHIA, noisy(rise(PYTHIA, 2.85, 0.05), 0.001, seed))
        assert event.lower <= 512
        assert event.upper >= 1000
        assert not event.resolved
        assert "upper bound" in event.note


def test_a_bump_a_spike_a_plateau_and_a_kink_are_told_apart():
    x = x_of(LOG)
    bump = np.exp(-(((x - 3) / 0.25) ** 2))
    spike = np.where(np.arange(len(x)) == 30, 1.0, 0.0)
    plateau = np.minimum(x, 2.5) + np.maximum(x, 3.5) - 3.5
    kink = np.maximum(x - 2.5, 0)
    for kind, curve, place in [
        ("bump", bump, 3.0),
        ("spike", spike, x[30]),
        ("plateau", plateau, 3.0),
        ("kink", kink, 2.5),
    ]:
        found = detect_curve(LOG, noisy(curve, 0.04))
        assert [e.kind for e in found] == [kind], (kind, found)
        assert abs(np.log10(found[0].midpoint + 1) - place) < 0.25
        assert found[0].direction == "up"


def test_two_transitions_are_two_events():
    found = detect_curve(PYTHIA, noisy(rise(PYTHIA, 1.6, 0.3) - 0.8 * rise(PYTHIA, 4.3, 0.2), 0.05))
    assert [(e.kind, e.direction) for e in found] == [("transition", "up"), ("transition", "down")]


def test_a_small_fall_on_a_large_decay_is_found():
    decay = 8 * (LOG + 1) ** -0.25
    (event,) = detect_curve(LOG, noisy(decay - 0.5 * rise(LOG, 3.0, 0.3), 0.02))
    assert (event.kind, event.direction) == ("transition", "down")
    assert event.lower <= 10**3 - 1 <= event.upper


SMOOTH = {
    "flat": lambda x: 0 * x,
    "power law": lambda x: 10 ** (-0.3 * x),
    "two power laws": lambda x: 3 * 10 ** (-0.5 * x) + 10 ** (-0.08 * x),
    "line": lambda x: x,
    "slow bend": lambda x: np.logaddexp(0, (x - 3) * 2) / 2,
    "parabola": lambda x: (x - 6) ** 2,
}


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_improvement_is_no_event(name):
    said = 0
    for seed in range(12):
        step = (PYTHIA, LOG, LOG[::2])[seed % 3]
        curve = SMOOTH[name](x_of(step))
        sigma = 0.05 * (np.ptp(curve) or 1.0)
        said += bool(detect_curve(step, noisy(curve, sigma, seed), np.full(len(step), sigma)))
    assert said <= 1


def test_a_random_walk_is_seldom_an_event():
    said = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        curve = np.cumsum(rng.normal(0, 0.1, len(LOG))) + rng.normal(0, 0.05, len(LOG))
        said += any(e.kind != "spike" for e in detect_curve(LOG, curve))
    assert said <= 6  # strong walks without standard errors are the hardest null: docs/events.md gives the figure


def test_outliers_of_heavy_tailed_noise_are_not_spikes():
    said = 0
    for seed in range(12):
        noise = np.random.default_rng(seed).standard_t(3, len(LOG))
        said += bool(detect_curve(LOG, noise))
    assert said <= 3


def test_accuracy_at_chance_and_rising_from_it():
    rng = np.random.default_rng(0)
    for seed in range(5):
        flat = np.random.default_rng(seed).binomial(200, 0.25, len(LOG)) / 200
        assert detect_curve(LOG, flat, np.sqrt(flat * (1 - flat) / 200)) == []
    value = rng.binomial(200, 0.25 + 0.5 * rise(LOG, 3.5, 0.3)) / 200
    (event,) = detect_curve(LOG, value, np.sqrt(value * (1 - value) / 200))
    assert (event.kind, event.direction) == ("transition", "up")


def test_values_over_many_magnitudes_are_seen_on_the_log():
    value = 10.0 ** noisy(-6 * rise(LOG, 3.5, 0.3), 0.05)
    found = detect_curve(LOG, value)
    on_log = [e for e in found if e.scale == "log"]
    assert on_log
    assert "log10" in on_log[0].note
    assert on_log[0].lower <= 10**3.5 - 1 <= on_log[0].upper
    assert on_log[0].after < 1e-4 < on_log[0].before
    assert all(e.scale == "linear" for e in detect_curve(LOG, noisy(rise(LOG, 3.5, 0.3), 0.05)))


def test_gaps_order_and_unit_do_not_matter():
    value = noisy(rise(LOG, 3.5, 0.3), 0.05)
    (event,) = detect_curve(LOG, value)
    shuffled = np.random.default_rng(1).permutation(len(LOG))
    assert detect_curve(LOG[shuffled], value[shuffled]) == [event]
    (scaled,) = detect_curve(LOG, 1e6 * value - 3e6)
    assert (scaled.kind, scaled.lower, scaled.upper) == (
        event.kind,
        pytest.approx(event.lower),
        pytest.approx(event.upper),
    )
    assert scaled.magnitude == pytest.approx(1e6 * event.magnitude)
    holes = value.copy()
    holes[::7] = np.nan
    (found,) = detect_curve(LOG, holes)
    assert found.kind == "transition"
    assert found.lower <= 10**3.5 - 1 <= found.upper


@pytest.mark.parametrize("value", [np.full(60, 0.3), np.full(60, np.nan), np.where(np.arange(60) < 5, 1.0, np.nan)])
def test_constant_unknown_and_too_short_curves_have_no_events(value):
    assert detect_curve(LOG[:60], value[: len(LOG)]) == []


def test_eight_checkpoints_are_enough_for_a_clear_step():
    step = np.array([0, 10, 30, 100, 300, 1000, 3000, 10000], dtype=float)
    (event,) = detect_curve(step, np.array([0.01, 0.0, 0.02, 0.01, 0.99, 1.0, 1.01, 0.99]))
    assert (event.kind, event.direction, event.resolved) == ("transition", "up", False)
    assert (event.lower, event.upper) == (pytest.approx(100, rel=0.1), pytest.approx(300, rel=0.1))


def test_an_event_near_the_end_is_tentative():
    step = LOG[: int(np.searchsorted(x_of(LOG), 3.85))]
    for event in detect_curve(step, noisy(rise(step, 3.5, 0.2), 0.02)):
        assert event.tentative
        assert "fewer than" in event.note
    (later,) = detect_curve(LOG, noisy(rise(LOG, 3.5, 0.2), 0.02))
    assert not later.tentative


def test_a_change_before_the_second_checkpoint_is_not_placed():
    value = noisy(np.where(np.arange(len(LOG)) == 0, 1.0, 0.0), 0.001)
    assert [e.kind for e in detect_curve(LOG, value) if e.kind != "spike"] == []


def test_every_interval_holds_its_midpoint():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        value = np.cumsum(rng.normal(0, 1, len(LOG))) + 8 * rise(LOG, rng.uniform(1, 4.5), 0.2)
        assert all(e.lower <= e.midpoint <= e.upper for e in detect_curve(LOG, value))


def test_nothing_is_written_into_the_arrays():
    step, value, error = LOG.copy(), noisy(rise(LOG, 3.5, 0.3), 0.05), np.full(len(LOG), 0.05)
    kept = value.copy()
    detect_curve(step, value, error)
    assert np.array_equal(step, LOG)
    assert np.array_equal(value, kept)
    assert np.all(error == 0.05)


def test_messages_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"lengths \[2, 3\]: expected one number a checkpoint"):
        detect_curve(np.arange(3.0), np.arange(2.0))
    with pytest.raises(ValueError, match=r"step -1.0 is negative"):
        detect_curve(np.array([-1.0, 2.0]), np.arange(2.0))


def test_a_long_history_is_looked_at_in_stretches_and_says_so():
    step = np.arange(0, 143_000, 7, dtype=float)
    (event,) = detect_curve(step, noisy(rise(step, 4.2, 0.3), 0.3))
    assert event.kind == "transition"
    assert event.lower <= 10**4.2 - 1 <= event.upper
    assert np.log10((event.upper + 1) / (event.lower + 1)) < 0.1  # 20,000 noisy points know it better than any of them
    assert (event.before, event.after) == (pytest.approx(0, abs=0.05), pytest.approx(1, abs=0.05))
    assert event.note.startswith("20,429 checkpoints, looked at as the means of")


def test_a_long_history_without_a_change_has_no_event():
    step = np.arange(20_000, dtype=float)
    assert [detect_curve(step, noisy(0.1 * x_of(step), 0.2, seed)) for seed in range(5)] == [[]] * 5


def test_stretches_weigh_what_they_hold():
    step = np.arange(2000, dtype=float)
    at, mean, error = measured(step, np.full(2000, 3.0), np.full(2000, 0.5))
    assert len(at) == len(mean) == len(error) <= MOST
    assert at[0] == 0
    assert np.all(np.diff(at) > 0)
    assert mean == pytest.approx(3.0)
    assert error[0] == 0.5
    last = np.sum(step > 10 ** (x_of(step[-1]) * (1 - 1 / MOST)) - 1)
    assert error[-1] == pytest.approx(0.5 / np.sqrt(last), rel=0.1)
    short = measured(step[:MOST], step[:MOST], None)
    assert np.array_equal(short[0], step[:MOST])
    assert short[2] is None


def test_a_mean_of_wandering_checkpoints_is_hardly_surer_than_one():
    step, random = np.arange(20_000, dtype=float), np.random.default_rng(0)
    for wandering, least, most in ((False, 22.0, 33.0), (True, 0.3, 3.0)):
        noise = random.normal(size=20_000)
        error = measured(step, np.cumsum(noise) if wandering else noise)[2]
        assert least < error[0] / error[-1] < most


def test_standard_errors_that_are_not_known_are_read_off_a_long_curve_like_none():
    step = np.arange(5000, dtype=float)
    value = noisy(rise(step, 3.0, 0.3), 0.1)
    assert np.array_equal(measured(step, value, np.full(5000, np.nan))[2], measured(step, value)[2])


def test_many_numbers_of_one_step_are_one_mean():
    at, mean, _ = measured(np.full(300, 7.0), np.arange(300, dtype=float))
    assert at == pytest.approx([7.0])
    assert mean == pytest.approx([149.5])
