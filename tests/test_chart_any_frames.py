"""Charts on whatever a store may hold: nothing, one step, no finite number, one head, ten thousand heads."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from dashboards.charts import draw_chart, draw_figures, load_charts
from dashboards.frames import Frames, prepare
from dashboards.summary import summarise
from dynamics.errors import UsageError
from test_chart_frames import tables
from test_chart_stores import event_row, metric_row

PER_HEAD = "prefix_matching"


def heads(
    count: int, steps: list[int], value: float | None = 0.5, events: list[dict[str, Any]] | None = None,
    question: str = "",
) -> Frames:
    shared = {"series": "model", "stage": "", "version": 1, "task_hash": "t", "run_id": "r"}
    rows = [
        {**shared, "metric": PER_HEAD, "layer": head // 32, "head": head % 32, "step": step,
         "value": None if value is None else value * (head + 1) / count + step * 1e-6}
        for head in range(count) for step in steps
    ]  # fmt: skip
    checkpoints = [{"series": "model", "stage": "", "step": step, "status": "measured"} for step in steps]
    metrics = [metric_row(PER_HEAD, "layer,head", question=question)]
    return prepare(tables(rows, checkpoints, metrics=metrics, events=events or []))


# What the charts draw, with its axes.
METRICS = {
    "prefix_matching": "layer,head", "loss": "", "in_context_learning_score": "", "train_loss": "", "test_loss": "",
    "accuracy": "", "loss_by_position": "index", "per_token_loss": "index", "feature_dimensionality": "index",
    "feature_products": "index", "excluded_loss_by_frequency": "index", "key_frequency": "index",
    "stable_rank": "label", "cka_to_final": "layer",
}  # fmt: skip


def every_metric(
    steps: list[int], *, places: int = 9, value: float | None = 1.0, metrics: Sequence[str] = tuple(METRICS)
) -> Frames:
    """Two seeds of a model with what charts draw, in so many places; one large change of a head, one of the loss.

    A curve rises or falls with the step and lies the higher the later its place; a `value` of None or NaN is all of it.
    """
    parts = []
    for seed, metric in itertools.product(range(2), metrics):
        axes = METRICS[metric]
        place, step = (grid.ravel() for grid in np.meshgrid(np.arange(places if axes else 1), steps))
        height = seed + 1 + place + np.sin(place) * np.log1p(step)
        named = {"layer": place // 3, "head": place % 3, "index": place, "label": [f"layer {i} W_Q" for i in place]}
        at = {axis: named[axis] for axis in axes.split(",") if axis}
        numbers = pl.DataFrame({"step": step, "tokens_seen": 100 * step, "value": height / (places + 3), **at})
        shared = {"series": f"toy-seed{seed}", "stage": "", "metric": metric, "version": 1, "task_hash": "t",
                  "run_id": "r", "n": 64, "stderr": 0.01}  # fmt: skip
        parts.append(numbers.with_columns(pl.lit(one).alias(name) for name, one in shared.items()))
    rows = pl.concat(parts, how="diagonal_relaxed").with_columns(pl.col("value") * pl.lit(value, pl.Float64))
    checkpoints = [{"series": f"toy-seed{seed}", "stage": "", "step": step, "status": "measured",
                    "tokens_seen": 100 * step} for seed in range(2) for step in steps]  # fmt: skip
    series = [{"series": f"toy-seed{seed}", "seed": seed, "n_params": 1000} for seed in range(2)]
    events = [event_row("toy-seed0", PER_HEAD, 20, 0.1, 0.9, layer=1, head=0), event_row("toy-seed0", "loss", 5, 4, 2)]
    about = [metric_row(metric, METRICS[metric]) for metric in metrics]
    made = tables([], checkpoints, series=series, metrics=about, events=events)
    return prepare(made | {"measurements": pl.concat([made["measurements"], rows], how="diagonal_relaxed")})


@pytest.fixture(scope="module")
def odd() -> Callable[[str], Frames]:
    """Frames by name, each made once and when it is asked for."""
    makers: dict[str, Callable[[], Frames]] = {
        "empty": lambda: prepare(tables([])),
        "one step": lambda: every_metric([1000]),
        "all NaN": lambda: every_metric([0, 10, 100], value=math.nan),
        "all NULL": lambda: every_metric([0, 10, 100], value=None),
        "one place": lambda: every_metric([0, 10, 100, 1000], places=1),
    }
    return cache(lambda name: makers[name]())


@pytest.mark.parametrize("name", sorted(load_charts()))
@pytest.mark.parametrize("frames", ["empty", "one step", "all NaN", "all NULL", "one place"])
def test_every_chart_draws_or_says_what_it_lacks(odd: Callable[[str], Frames], name: str, frames: str) -> None:
    try:
        spec = draw_chart(odd(frames), name).specification(check=True)
    except UsageError as refused:
        spec = {"description": str(refused)}
    assert spec["description"]
    assert "vconcat" in spec or "concat" in spec or "layer" in spec or f"chart {name!r} needs" in spec["description"]
    assert "NaN" not in json.dumps(spec)


@pytest.mark.parametrize("name", sorted(load_charts()))
def test_every_chart_of_ten_thousand_places_stays_small_or_says_what_it_lacks(crowd: Frames, name: str) -> None:
    if name == "layer_multiples":  # one panel a layer, of three thousand
        with pytest.raises(UsageError, match="of another extent"):
            draw_chart(crowd, name)
        return
    assert len(json.dumps(draw_chart(crowd, name).specification())) < 4_000_000


@pytest.fixture(scope="module")
def crowd() -> Frames:
    return every_metric([0, 1, 10, 100], places=10_000)


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
        json.dumps(figure.specification(check=True))
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
