"""Charts of spaces: the plane of losses, features that share dimensions, spectra of weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from dashboards.charts import Figure, draw_figures
from dashboards.charts.per_token_trajectory import _plane
from dashboards.frames import Frames, prepare
from test_chart_frames import tables
from test_chart_stores import metric_row

STEPS = [0, 1, 10, 100, 1000]


def frames(metric: str, rows: list[dict[str, Any]], axes: str = "index") -> Frames:
    shared = {"series": "model", "stage": "", "version": 1, "task_hash": "t", "run_id": "r", "metric": metric}
    checkpoints = [{"series": "model", "stage": "", "step": step, "status": "measured"} for step in STEPS]
    return prepare(tables([{**shared, **row} for row in rows], checkpoints, metrics=[metric_row(metric, axes)]))


def figure(drawn: Frames, name: str) -> Figure | None:
    return next((figure for figure in draw_figures(drawn) if figure.name == name), None)


def losses(positions: int) -> Frames:
    rows = [{"index": k, "step": step, "value": 4.0 - n - 0.1 * k * (n == 2)}
            for n, step in enumerate(STEPS) for k in range(positions)]  # fmt: skip
    return frames("loss_by_position", rows)


def test_the_plane_keeps_distances_and_its_sign_is_fixed() -> None:
    # On a line: one component holds everything, and training goes to the right whichever way the numbers do.
    for sign in (1.0, -1.0):
        values = [[sign * 3 * n, sign * 4 * n] for n in range(4)]
        placed, shares = _plane(pl.DataFrame({"series": ["a"] * 4, "step": [0, 1, 2, 3], "value": values}))
        assert np.diff(placed["first"].to_list()) == pytest.approx([5, 5, 5])
        assert placed["second"].to_list() == pytest.approx([0, 0, 0, 0], abs=1e-12)
        assert shares == pytest.approx((1.0, 0.0), abs=1e-12)


def test_the_path_marks_its_last_step_and_says_what_it_holds() -> None:
    drawn = figure(losses(6), "per_token_trajectory")
    assert drawn is not None
    spec = drawn.specification()
    assert "6 positions of the context" in spec["description"]
    said = [row["said"] for rows in spec["datasets"].values() for row in rows if "said" in row]
    assert "1,000" in said


def test_there_is_no_plane_of_one_position() -> None:
    assert figure(losses(1), "per_token_trajectory") is None


def single_tokens() -> Frames:
    curves = {0: [9.0, 9, 9, 2, 2], 1: [9.0, 8, 7, 6, 5], 2: [9.0, 8, 6, 5, 4], 3: [3.0, 3, 3, 3, 3]}
    rows = [{"index": k, "step": step, "value": value}
            for k, values in curves.items() for step, value in zip(STEPS, values, strict=True)]  # fmt: skip
    return frames("per_token_loss", rows)


def test_the_shapes_of_single_tokens_have_their_shares() -> None:
    drawn = figure(single_tokens(), "curve_shapes")
    assert drawn is not None
    rows = [row for rows in drawn.specification()["datasets"].values() for row in rows if "share" in row]
    assert {row["shape"]: row["share"] for row in rows if row["n"]} == {"sharp": 0.25, "falling": 0.5, "flat": 0.25}
    medians = [row for rows in drawn.specification()["datasets"].values() for row in rows if "value" in row]
    assert [row["value"] for row in medians if row["shape"] == "falling"] == [9, 8, 6.5, 5.5, 4.5]


def test_the_plane_is_that_of_single_tokens_where_they_were_measured() -> None:
    one, other = losses(6), single_tokens()
    both = prepare(tables(
        [*one.measurements.to_dicts(), *other.measurements.to_dicts()], one.checkpoints.to_dicts(),
        metrics=[metric_row("loss_by_position", "index"), metric_row("per_token_loss", "index")],
    ))  # fmt: skip
    drawn = figure(both, "per_token_trajectory")
    assert drawn is not None
    assert "losses of 4 single tokens" in drawn.specification()["description"]


def test_features_stand_before_the_levels_at_which_they_stick() -> None:
    rows = [{"index": k, "step": step, "value": 0.4} for k in range(5) for step in STEPS]
    drawn = figure(frames("feature_dimensionality", rows), "feature_dimensionality")
    assert drawn is not None
    levels = [row for rows in drawn.specification()["datasets"].values() for row in rows if "level" in row]
    assert {row["level"]: round(row["value"], 3) for row in levels}["2/5 pentagon"] == 0.4
    assert len(levels) == 7


def test_matrices_of_one_name_in_several_layers_share_a_colour() -> None:
    rows = [{"label": label, "step": step, "value": 1.0 + step}
            for label in ("blocks.0.attn.W_Q.0", "blocks.1.attn.W_Q.1", "unembed.W_U") for step in STEPS]  # fmt: skip
    drawn = figure(frames("stable_rank", rows, "label"), "weight_spectra")
    assert drawn is not None
    spec = drawn.specification()
    assert {row["kind"] for rows in spec["datasets"].values() for row in rows} == {"attn.W_Q", "unembed.W_U"}
