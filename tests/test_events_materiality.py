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


def test_the_flat_start_of_a_falling_loss_is_no_bump() -> None:
    """The loss of a one-layer model over its first 800 steps: flat, then falling ever more slowly."""
    steps = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 18, 21, 25, 30, 36, 42, 51, 60, 72, 85, 101, 120, 143, 170, 202,
             240, 285, 339, 402, 478, 567, 674, 800]  # fmt: skip
    value = [4.69, 4.68, 4.66, 4.63, 4.58, 4.53, 4.47, 4.41, 4.35, 4.28, 4.21, 4.07, 3.84, 3.66, 3.5, 3.36, 3.24, 3.14,
             3.07, 2.985, 2.94, 2.89, 2.85, 2.81, 2.77, 2.72, 2.67, 2.6, 2.52, 2.42, 2.34, 2.25, 2.19, 2.15, 2.11,
             2.08]  # fmt: skip
    loss = pl.DataFrame({"series": "s", "step": steps, "metric": "loss", "value": value, "stderr": 0.02})
    assert detect(loss).filter(pl.col("kind") == "bump").is_empty()


def test_a_second_event_of_a_curve_is_called_beside_curves_without_one() -> None:
    steps = np.unique(np.logspace(0, 5, 60).astype(int))
    place, random = np.log10(steps), np.random.default_rng(0)
    twice = 1 / (1 + np.exp(-20 * (place - 1.5))) + 0.3 / (1 + np.exp(-20 * (place - 3.5)))
    noisy = {"twice": twice + random.normal(0, 0.02, len(steps)), "never": random.normal(0, 0.02, len(steps))}
    frame = pl.concat(
        [pl.DataFrame({"series": name, "step": steps, "metric": "m", "value": v}) for name, v in noisy.items()]
    )
    events = detect(frame)
    assert set(events["series"]) == {"twice"}
    assert rises(events) == 2
    assert (events["q_value"] <= 2 * events["p_value"] + 1e-12).all()
