"""What a report says of many series, and of histories that are too short."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from dashboards.charts import draw_figures
from dashboards.document import compose, html
from dashboards.frames import Frames, prepare
from dashboards.models import by_size, order
from dashboards.summary import summarise
from test_chart_frames import tables
from test_chart_stores import event_row, metric_row

SIZES = ("70m", "160m", "1.4b", "410m", "12b", "1b", "2.8b", "6.9b")
STEPS = (0, 1, 10, 100, 1000, 2000, 4000, 8000, 16000)


def many(events: list[dict[str, Any]], names: tuple[str, ...] = SIZES, steps: tuple[int, ...] = STEPS) -> Frames:
    shared = {"stage": "", "version": 1}
    rows = [
        {**shared, "series": f"model-{name}", "step": step, "metric": metric, "value": math.log1p(step) / 10}
        for name in names for step in steps for metric in ("acc", "other")
    ]  # fmt: skip
    return prepare(tables(rows, metrics=[metric_row("acc"), metric_row("other")], events=events))


@pytest.fixture(scope="module")
def frames() -> Frames:
    events = [event_row(f"model-{name}", "acc", 200 + 10 * n, 0.1, 0.9) for n, name in enumerate(SIZES[:5])]
    events += [event_row(f"model-{name}", "other", 3000, 0.9, 0.1) for name in SIZES[:3]]
    return many(events)


def test_a_change_is_told_once_with_the_first_and_the_last_series(frames: Frames) -> None:
    summary = summarise(frames)
    assert summary.lead.startswith("Acc rose in 5 of 8 series, between steps 200 and 240.")
    assert [line.about for line in summary.headlines] == ["Acc rose", "Other fell"]
    assert summary.headlines[0].text == "in 5 of 8 series, between steps 200 (model-70m) and 240 (model-12b)."


def test_the_order_of_two_changes_is_counted_over_the_series(frames: Frames) -> None:
    (line,) = summarise(frames).orders
    assert line.text == (
        "against “other fell”, of 3 series that have both: first in 3, last in 0, in 0 the checkpoints do not tell."
    )


def test_series_without_a_change_are_counted(frames: Frames) -> None:
    said = {line.about: line.text for line in summarise(frames).absent}
    assert said["Acc"] == "rises gradually in 3 of 8 series: 0.1 → 0.9, never faster than gradual learning."
    assert said["Other"].startswith("rises gradually in 5 of 8 series: ")


def test_a_series_whose_ends_agree_has_not_changed(frames: Frames) -> None:
    scatter = frames.measurements.with_columns(value=0.5 + 0.01 * (pl.col("step") % 7).cast(pl.Float64))
    said = {line.about: line.text for line in summarise(replace(frames, measurements=scatter)).absent}
    assert said["Acc"].startswith("no change in 3 of 8 series: model-")
    assert said["Other"].startswith("no change in 5 of 8 series (values 0.5 to 0.5")


def test_the_page_folds_the_single_changes_away(frames: Frames) -> None:
    page = html(compose(frames, "many"))
    assert "8 large changes, series by series</summary>" in page


def test_the_timeline_has_a_panel_for_each_metric(frames: Frames) -> None:
    timeline = next(figure for figure in draw_figures(frames) if figure.name == "event_timeline").specification()
    assert [panel["title"]["text"] for panel in timeline["vconcat"]] == ["Acc", "Other"]


def test_many_series_are_ordered_and_coloured_by_size(frames: Frames) -> None:
    names = ["70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b"]
    assert order(frames) == by_size(frames) == [f"model-{name}" for name in names]
    curves = next(figure for figure in draw_figures(frames) if figure.name == "scalar_curves").specification()
    colour = curves["concat"][0]["layer"][-2]["encoding"]["color"]
    assert (colour["type"], colour["scale"]["range"]) == ("ordinal", "ordinal")
    assert colour["scale"]["domain"][0] == "model-70m"


def test_a_short_history_is_said_to_be_too_short() -> None:
    summary = summarise(many([], SIZES[:1], STEPS[:4]))
    assert summary.lead.startswith("The history is too short to tell whether anything emerged. 2 curves over 4")
    assert summary.headlines[0].text.startswith("too few checkpoints to tell.")
    assert "from 8 checkpoints on" in summary.lead
    assert "too short" not in summarise(many([], SIZES[:1])).lead
