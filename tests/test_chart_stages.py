"""Histories of several stages on one axis, and tokens where batches grow."""

from __future__ import annotations

import polars as pl

from dashboards.document import compose
from dashboards.frames import Frames, prepare
from dashboards.stages import tokens_seen
from dynamics.events import detect
from test_chart_frames import Row, tables
from test_chart_stores import metric_row

STEPS = tuple(range(0, 1001, 100))


def level(at: Row) -> float:
    return 0.9 if at["stage"] == "stage2" and at["step"] > 500 else 0.1  # pyright: ignore[reportOperatorIssue]


def staged(*, tokens: bool) -> tuple[Frames, list[Row]]:
    """Two stages that both count from 0; the second has twice the batch, and half-way through it a value rises."""
    points: list[Row] = [
        {"series": "a", "stage": stage, "step": step, "status": "measured",
         "tokens_seen": (step * 10 if stage == "stage1" else 10_000 + step * 20) if tokens else None}
        for stage in ("stage1", "stage2") for step in STEPS
    ]  # fmt: skip
    rows: list[Row] = [
        {"series": "a", "stage": at["stage"], "step": at["step"], "metric": "acc", "version": 1,
         "value": level(at)} for at in points
    ]  # fmt: skip
    return prepare(tables(rows, points, metrics=[metric_row("acc")])), points


def test_the_second_stage_goes_on_where_the_first_ended() -> None:
    frames, _ = staged(tokens=False)
    assert frames.steps() == list(range(0, 2001, 100))
    assert frames.measurements.filter(pl.col("value") > 0.5)["step"].min() == 1600


def test_with_tokens_a_step_of_a_larger_batch_counts_more() -> None:
    frames, _ = staged(tokens=True)
    assert frames.steps()[-1] == 3000  # 30,000 tokens at 10 a step


def test_the_axis_is_the_one_that_dates_the_events() -> None:
    for tokens in (False, True):
        frames, points = staged(tokens=tokens)
        raw = pl.DataFrame([{**at, "metric": "acc", "value": level(at)} for at in points])
        (midpoint,) = detect(raw).filter(pl.col("kind") == "transition")["midpoint"]
        drawn = frames.measurements.sort("step")
        before = drawn.filter(pl.col("value") < 0.5)["step"].max()
        after = drawn.filter(pl.col("value") > 0.5)["step"].min()
        assert before <= midpoint <= after  # pyright: ignore[reportOperatorIssue]


def test_the_report_names_the_stages_and_where_each_ends() -> None:
    frames, _ = staged(tokens=False)
    assert "a (stage1 to 1,000, stage2 to 2,000)" in compose(frames, "staged").words["how_to_read"]


def test_tokens_are_an_axis_only_where_all_series_agree_on_them() -> None:
    grown = pl.DataFrame({"step": [0, 10, 20, 10], "tokens_seen": [0, 100, 400, 100]})
    assert tokens_seen(grown) == [[0, 0], [10, 100], [20, 400]]
    assert tokens_seen(grown.with_columns(tokens_seen=pl.Series([0, 100, 400, 101]))) is None
    assert tokens_seen(grown.with_columns(tokens_seen=pl.Series([0, 100, None, 100]))) is None
