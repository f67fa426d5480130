"""Curves that fall once and curves that fall by degrees."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from dynamics.monogenic import monogenic, single_drop, skills


def test_the_plateaus_are_tested_on_both_sides() -> None:
    """The published code tests the part before the drop twice: it would call the second of these monogenic."""
    assert single_drop(np.array([4.0, 4.1, 4.0, 1.0, 1.1])) == 3
    assert single_drop(np.array([4.0, 4.1, 4.0, 1.0, 3.9])) is None
    assert single_drop(np.array([4.0, 2.9, 4.0, 1.0, 1.1])) is None


def test_the_bounds_are_where_the_paper_has_them() -> None:
    assert single_drop(np.array([3.0, 3.0, 1.0, 1.0])) == 2
    assert single_drop(np.array([3.0, 3.0, 1.01, 1.01])) is None
    assert single_drop(np.array([3.69, 3.0, 1.0, 0.31])) == 2
    assert single_drop(np.array([3.71, 3.0, 1.0, 0.3])) is None
    assert single_drop(np.array([0.69, 0.7, 0.01, 0.0]), plateau=0.1, drop=0.5) == 2


@pytest.mark.parametrize("curve", [np.linspace(4, 0, 30), np.full(10, 3.0), np.array([1.0]), np.array([]),
                                   np.array([4.0, np.nan, 1.0])])  # fmt: skip
def test_slopes_constants_and_gaps_are_not_monogenic(curve: np.ndarray) -> None:
    assert single_drop(curve) is None


def test_a_rise_is_no_drop() -> None:
    assert single_drop(np.array([0.0, 0.0, 3.0, 3.0])) is None


def test_every_curve_of_a_frame_gets_its_answer() -> None:
    steps = [0, 10, 20, 30]
    frame = pl.concat([
        pl.DataFrame({"series": "a", "metric": "loss", "index": index, "step": steps, "value": values})
        for index, values in enumerate(([3.0, 3.1, 0.1, 0.0], [3.0, 2.0, 1.0, 0.0]))
    ])  # fmt: skip
    found = monogenic(frame.sample(fraction=1.0, shuffle=True, seed=0)).sort("index")
    assert found.columns == ["series", "metric", "index", "monogenic", "before", "after", "largest_drop_share"]
    assert found["monogenic"].to_list() == [True, False]
    assert found.row(0)[-3:] == (10, 20, pytest.approx(1.0))
    assert found.row(1)[-3:] == (None, None, pytest.approx(1 / 3))


def test_each_kind_of_skill_is_held_to_its_own_reach_and_other_metrics_are_left_out() -> None:
    falls = {"quantum_loss": [3.0, 3.0, 0.5], "subtask_loss": [0.69, 0.70, 0.1], "loss": [3.0, 3.0, 0.5]}
    frame = pl.concat([
        pl.DataFrame({"series": "a", "metric": metric, "label": "x", "step": [0, 1, 2], "value": values})
        for metric, values in falls.items()
    ])  # fmt: skip
    found = skills(frame)
    assert found["metric"].to_list() == ["quantum_loss", "subtask_loss"]
    assert found["monogenic"].to_list() == [True, True]
    assert not monogenic(frame.filter(pl.col("metric") == "subtask_loss"))["monogenic"][0]
    assert skills(frame.filter(pl.col("metric") == "loss")).is_empty()
