"""Charts on whatever a store may hold: nothing, one step, no finite number, one head, ten thousand heads."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from dashboards.charts import draw_figures
from dashboards.frames import Frames, prepare
from dashboards.summary import summarise
from test_chart_frames import tables
from test_chart_stores import event_row, metric_row

PER_HEAD = "prefix_matching"


def heads(
    count: int, steps: list[int], value: float | None = 0.5, events: list[dict[str, Any]] | None = None
) -> Frames:
    shared = {"series": "model", "stage": "", "version": 1, "task_hash": "t", "run_id": "r"}
    rows = [
        {**shared, "metric": PER_HEAD, "layer": head // 32, "head": head % 32, "step": step,
         "value": None if value is None else value * (head + 1) / count + step * 1e-6}
        for head in range(count) for step in steps
    ]  # fmt: skip
    checkpoints = [{"series": "model", "stage": "", "step": step, "status": "measured"} for step in steps]
    return prepare(tables(rows, checkpoints, metrics=[metric_row(PER_HEAD, "layer,head")], events=events or []))


@pytest.mark.parametrize(
    "frames",
    [
        prepare(tables([])),
        heads(1, [0]),
        heads(4, [1000]),
        heads(4, [0, 1, 2], value=None),
        heads(1, [0, 10, 100]),
        heads(4, [0, 10], events=[event_row("model", PER_HEAD, 5, 0.1, 0.9, layer=9, head=9)]),
        heads(4, [0, 10], events=[event_row("stranger", "unknown", 5, 0.1, 0.9)]),
        heads(4, [0, 10], events=[{"series": "model", "metric": PER_HEAD, "kind": "kink", "direction": "up"}]),
    ],
    ids=[
        "empty",
        "one head",
        "one step",
        "all NULL",
        "a curve",
        "event elsewhere",
        "event of a stranger",
        "bare event",
    ],
)
def test_charts_and_sentences_are_made(frames: Frames) -> None:
    for figure in draw_figures(frames):
        json.dumps(figure.specification())
    summarise(frames)


def test_ten_thousand_heads_are_limited_and_the_caption_says_so() -> None:
    frames = heads(10_000, [0, 1, 10], events=[event_row("model", PER_HEAD, 5, 0.1, 0.9, layer=3, head=3)])
    begun = time.perf_counter()
    figure = next(figure for figure in draw_figures(frames) if figure.name.endswith(PER_HEAD))
    spec = figure.specification()
    assert "10,000 curves; 96 are drawn" in spec["description"]
    assert len(json.dumps(spec)) < 300_000
    assert time.perf_counter() - begun < 5
    assert "L3H3" in json.dumps(spec["datasets"])
