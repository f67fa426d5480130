"""A change that is sure but tiny on a bounded scale is not an event unless it is asked for."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from dynamics.events import detect

BOUNDS = pl.DataFrame({"metric": ["m"], "lower": [0.0], "upper": [1.0], "unit": [None]})


def curve(height: float) -> pl.DataFrame:
    """A step of the given height at step 100, with next to no noise."""
    steps = np.unique(np.logspace(0, 4, 40).astype(int))
    noise = np.random.default_rng(0).normal(0, height / 200, len(steps))
    value = 0.1 + height / (1 + np.exp(-20 * (np.log10(steps) - 2))) + noise
    return pl.DataFrame({"series": "s", "step": steps, "metric": "m", "value": value})


def rises(events: pl.DataFrame) -> int:
    return events.filter((pl.col("kind") == "transition") & (pl.col("direction") == "up")).height


@pytest.mark.parametrize(("height", "found"), [(0.02, 0), (0.2, 1)])
def test_small_changes_of_a_bounded_metric_are_left_out_by_default(height: float, found: int) -> None:
    assert rises(detect(curve(height), metrics=BOUNDS)) == found


def test_they_are_there_for_who_asks_and_where_no_bounds_are_known() -> None:
    assert rises(detect(curve(0.02), metrics=BOUNDS, min_size=0.0)) == 1
    assert rises(detect(curve(0.02))) == 1
