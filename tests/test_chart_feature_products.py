"""W^T W at chosen steps: a matrix a step, the steps where it changes, one scale of colours around 0."""

from __future__ import annotations

import json

from dashboards.charts import draw_figures
from dashboards.charts.feature_products import chosen_steps
from dashboards.frames import Frames, prepare
from test_chart_frames import tables
from test_chart_stores import metric_row

STEPS = (0, 10, 20, 30, 40, 50)


def products(series: list[str], values: dict[int, float]) -> Frames:
    """Two features: lengths 1, and the product between them as given for each step."""
    shared = {"metric": "feature_products", "stage": "", "version": 1, "task_hash": "t", "run_id": "r"}
    rows = [
        {**shared, "series": name, "index": index, "step": step, "value": 1.0 if index in (0, 3) else value}
        for name in series for step, value in values.items() for index in range(4)
    ]  # fmt: skip
    checkpoints = [{"series": n, "stage": "", "step": s, "status": "measured"} for n in series for s in values]
    return prepare(tables(rows, checkpoints, metrics=[metric_row("feature_products", "index")]))


def drawn(frames: Frames) -> dict:
    return next(f for f in draw_figures(frames) if f.name == "feature_products").specification()


def test_the_matrix_of_each_step_is_drawn_with_its_rows_and_columns() -> None:
    spec = drawn(products(["a"], dict.fromkeys(STEPS, 0.0) | {50: -1.0}))
    assert [panel["title"] for panel in spec["concat"]] == ["step 0", "step 50"]
    last = spec["datasets"][spec["concat"][-1]["data"]["name"]]
    assert sorted((r["row"], r["column"], r["value"]) for r in last) == [(1, 1, 1), (1, 2, -1), (2, 1, -1), (2, 2, 1)]
    assert spec["concat"][0]["encoding"]["color"]["scale"]["domain"] == [-1.0, 1.0]


def test_steps_part_the_way_of_the_matrix_and_not_the_time() -> None:
    frames = products(["a"], {0: 0.0, 10: 0.0, 20: -0.3, 30: -0.5, 40: -0.8, 1000: -1.0})
    assert chosen_steps(frames.curves("feature_products")) == [0, 20, 30, 40, 1000]


def test_every_series_has_its_row_and_too_many_are_said_to_be_left_out() -> None:
    spec = drawn(products(list("abcdef"), {0: 0.0, 10: -1.0}))
    titles = [f"{name}, step {step}" for name in "abcd" for step in (0, 10)]
    assert [panel["title"] for panel in spec["concat"]] == titles
    assert spec["columns"] == 2
    assert spec["resolve"] == {"scale": {"color": "shared"}}  # so that the legends, which are alike, are one
    assert all(panel["encoding"]["color"]["legend"]["orient"] == "top" for panel in spec["concat"])
    assert "2 more series are not drawn" in spec["description"]


def test_a_matrix_that_never_changes_is_drawn_once_and_no_colour_is_named() -> None:
    frames = products(["a"], dict.fromkeys(STEPS, 0.0))
    assert chosen_steps(frames.curves("feature_products")) == [0, 50]
    spec = drawn(frames)
    assert "#" not in json.dumps({name: part for name, part in spec.items() if name not in ("datasets", "config")})
    assert [f.name for f in draw_figures(frames) if "feature_products" in f.metrics] == ["feature_products"]
