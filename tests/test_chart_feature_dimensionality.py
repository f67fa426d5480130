"""Feature dimensionality over training: a line a feature, and the levels ruled and named."""

from __future__ import annotations

import json

from dashboards.charts import draw_figures
from dashboards.charts.feature_dimensionality import LEVELS
from dashboards.frames import Frames, prepare
from test_chart_frames import tables
from test_chart_stores import metric_row


def features(series: list[str]) -> Frames:
    shared = {"metric": "feature_dimensionality", "stage": "", "version": 1, "task_hash": "t", "run_id": "r"}
    rows = [
        {**shared, "series": name, "index": index, "step": step, "value": 0.1 * index + step / 1000}
        for name in series for index in range(5) for step in (0, 10, 100)
    ]  # fmt: skip
    checkpoints = [{"series": n, "stage": "", "step": s, "status": "measured"} for n in series for s in (0, 10, 100)]
    return prepare(tables(rows, checkpoints, metrics=[metric_row("feature_dimensionality", "index")]))


def test_every_series_has_a_panel_with_its_features_and_the_levels() -> None:
    figures = {figure.name: figure for figure in draw_figures(features(["a", "b"]))}
    spec = figures["feature_dimensionality"].specification()
    assert [panel["title"] for panel in spec["vconcat"]] == ["a", "b"]
    text = json.dumps(spec)
    assert all(name in text for name in ("2/5 pentagon", "1/2 digon", "3/4 tetrahedron"))
    drawn = [rows for rows in spec["datasets"].values() if "value" in rows[0] and "curve" in rows[0]]
    assert {len({row["curve"] for row in rows}) for rows in drawn} == {5}
    assert "#" not in json.dumps({name: part for name, part in spec.items() if name not in ("datasets", "config")})


def test_the_features_are_drawn_once_and_not_again_as_any_other_curve() -> None:
    names = [figure.name for figure in draw_figures(features(["a"])) if "feature_dimensionality" in figure.metrics]
    assert names == ["feature_dimensionality"]


def test_the_levels_are_those_of_the_paper() -> None:
    assert sorted(LEVELS.values()) == [0, 3 / 8, 2 / 5, 1 / 2, 2 / 3, 3 / 4, 1]
