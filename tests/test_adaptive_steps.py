"""Which checkpoints an adaptive sweep asks for next."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from dynamics import events as ev
from test_events_frame import STEPS, X, measured


def test_adaptive_steps_place_the_event_from_a_quarter_of_the_checkpoints():
    steps = np.array([0, *2 ** np.arange(10), *range(1000, 144000, 1000)])
    x, as_narrow = np.log10(steps + 1), 0
    for seed in range(4):
        full = measured("s", "m", 1 / (1 + np.exp(-(x - 4.6) * 20)), steps=steps, seed=seed)
        have = full.clear()
        while more := ev.next_steps(have, steps, budget=len(steps) // 4):
            assert not set(more) & set(have["step"])
            have = full.filter(pl.col("step").is_in(have["step"].to_list() + more))
        assert have["step"].n_unique() <= len(steps) // 4
        (few,), (all_,) = ev.detect(have).to_dicts(), ev.detect(full).to_dicts()
        assert few["kind"] == all_["kind"] == "transition"
        assert few["lower"] <= 10**4.6 - 1 <= few["upper"]
        as_narrow += few["upper"] - few["lower"] <= all_["upper"] - all_["lower"] + 1000
    assert as_narrow >= 3  # at most one gap wider; noise decides about the rest


def test_adaptive_steps_of_a_flat_history_stop_at_the_coarse_subset():
    full = measured("s", "m", 0 * X)
    have = full.clear()
    while more := ev.next_steps(have, STEPS, budget=40):
        have = full.filter(pl.col("step").is_in(have["step"].to_list() + more))
    assert 8 <= have["step"].n_unique() <= 20


def test_adaptive_steps_ask_nothing_for_a_change_that_would_not_be_reported():
    steps = np.array([0, *2 ** np.arange(10), *range(1000, 144000, 1000)])
    full = measured("s", "m", 0.02 / (1 + np.exp(-(np.log10(steps + 1) - 4.6) * 20)), steps=steps, sigma=1e-4)
    bounds = pl.DataFrame({"metric": ["m"], "lower": [0.0], "upper": [1.0]})
    asked = {}
    for name, metrics in (("bounded", bounds), ("unbounded", None)):
        have = full.clear()
        while more := ev.next_steps(have, steps, 40, metrics):
            have = full.filter(pl.col("step").is_in(have["step"].to_list() + more))
        asked[name] = have["step"].n_unique()
    assert asked["bounded"] <= 20 < asked["unbounded"]  # the even subset and no more


def test_a_budget_below_what_an_event_needs_is_refused():
    have = measured("s", "m", 0 * X).clear()
    with pytest.raises(ValueError, match="budget is 5 checkpoints: expected at least 8"):
        ev.next_steps(have, STEPS, budget=5)
