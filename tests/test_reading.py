"""Long stores: what DuckDB chooses and aggregates before it is drawn, and that the report says so."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dashboards import reading
from dashboards.charts import draw_chart, draw_figures, layer_multiples
from dashboards.document import compose, html
from dashboards.frames import Frames, prepare, read_frames
from dashboards.gather import gather
from dashboards.reading import REDUCED, read_tables
from dynamics.store import Store
from test_chart_stores import event_row, metric_row, write_induction_run

HEADS, STEPS, LONG, POSITIONS = 64, 40, 3000, 100
RISING = (5, 9)  # heads with an event; 9 moves least of all
SAME = {"series": "model", "stage": "", "weights_sha": "w", "task_hash": "t", "version": 2, "run_id": "r", "n": 8}


def curve(metric: str, step: np.ndarray, value: np.ndarray, **place: np.ndarray) -> pl.DataFrame:
    numbers = pl.DataFrame({"step": step, "value": value, **place})
    return numbers.with_columns(pl.lit(one).alias(name) for name, one in {**SAME, "metric": metric}.items())


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loss at three thousand steps with one spike, 64 heads and 100 positions at forty, and numbers of before."""
    folder = tmp_path_factory.mktemp("long")
    draw = np.random.default_rng(0)
    long = np.arange(LONG)
    loss = 3 * np.exp(-long / 500) + 0.01 * draw.normal(size=LONG)
    loss[1234] = 9.0
    head, step = (grid.ravel() for grid in np.meshgrid(np.arange(HEADS), np.arange(STEPS) * 100))
    score = head / HEADS + np.where(head == RISING[1], 1e-4, 1e-3 * head) * np.sin(step)
    index, at = (grid.ravel() for grid in np.meshgrid(np.arange(POSITIONS), np.arange(STEPS) * 100))
    with Store(folder) as store:
        for frame in (curve("loss", long, loss), curve("score", step, score, layer=head // 8, head=head % 8),
                      curve("loss_by_position", at, 5.0 - np.log1p(index) + at * 1e-4, index=index),
                      curve("score", step, 7 + score, layer=head // 8, head=head % 8).with_columns(version=pl.lit(1)),
                      curve("loss", long[:50], loss[:50] + 50).with_columns(task_hash=pl.lit("other"))):  # fmt: skip
            store.write(measurements=frame)
        axes = {"loss": "", "score": "layer,head", "loss_by_position": "index"}
        store.write(metrics=[metric_row(metric, axis) for metric, axis in axes.items()])
        store.write_events(pl.DataFrame([event_row("model", "score", 500, 0.1, 0.9 - 0.1 * number, layer=head // 8,
                                                   head=head % 8) for number, head in enumerate(RISING)]))  # fmt: skip
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that the made-up store is beyond."""
    for name, value in {"MAX_NUMBERS": 1500, "MAX_STEPS": 400, "BINS": 100, "FEWEST": 500, "MAX_CELLS": 640,
                        "CURVES": (8, 12)}.items():  # fmt: skip
        monkeypatch.setattr(reading, name, value)


@pytest.fixture
def frames(stored: Path, small: None) -> Frames:
    return read_frames(stored)


def whole(stored: Path, metric: str) -> pl.DataFrame:
    with Store(stored, read_only=True) as store:
        rows = store.read("measurements").filter(pl.col("metric") == metric)
    return rows.filter((pl.col("version") == 2) & (pl.col("task_hash") == "t"))


def test_a_store_within_the_limits_is_read_whole(tmp_path: Path) -> None:
    folder = write_induction_run(tmp_path)
    tables = read_tables(folder)
    with Store(folder, read_only=True) as store:
        assert tables["measurements"].height == store.read("measurements").height
    assert all(tables[name].is_empty() for name in REDUCED)
    assert "more than figures can hold" not in html(compose(prepare(tables), "short"))


def test_a_long_curve_keeps_its_ends_and_its_extremes(frames: Frames, stored: Path) -> None:
    loss, every = frames.curves("loss"), whole(stored, "loss")
    assert loss.height <= 400
    assert loss.select("step", "value").join(every, on=("step", "value"), how="anti").is_empty()  # all are stored ones
    assert set(loss["step"]) >= {0, LONG - 1, 1234}
    assert loss["value"].max() == 9.0
    assert loss["value"].min() == every["value"].min()


def test_a_line_through_what_is_kept_lies_where_the_whole_line_does(frames: Frames, stored: Path) -> None:
    """In every stretch of either axis the lowest and the highest number are those of the whole."""
    loss, every = frames.curves("loss"), whole(stored, "loss")
    for place in (pl.col("step") / LONG, pl.col("step").log1p() / math.log1p(LONG)):
        bins = (50 * place).floor().alias("bin")
        ends = [rows.group_by(bins).agg(low=pl.min("value"), high=pl.max("value")) for rows in (loss, every)]
        assert ends[0].sort("bin").equals(ends[1].sort("bin"))


def test_of_many_curves_those_with_events_stay_and_those_that_move_most(frames: Frames) -> None:
    score = frames.curves("score").filter(pl.col("value").is_not_null())
    kept = set(score.select(pl.col("layer") * 8 + pl.col("head")).to_series())
    assert kept == {*RISING, *range(HEADS - 10, HEADS)}
    assert score["step"].n_unique() == STEPS
    assert max(score["value"]) < 2  # the definition of before is gone


def test_counts_and_ranges_are_those_of_the_whole(frames: Frames, stored: Path) -> None:
    assert frames.n_curves("score") == frames.n_curves("score", "model") == HEADS
    assert frames.n_numbers() == LONG + HEADS * STEPS + POSITIONS * STEPS
    assert frames.n_steps(frames.curves("loss")) == LONG
    score = whole(stored, "score")["value"]
    assert frames.ends("score") == (score.min(), score.max())


def test_the_band_is_that_of_all_curves(frames: Frames, stored: Path) -> None:
    at = frames.bands.filter((pl.col("metric") == "score") & (pl.col("step") == 1700)).row(0, named=True)
    every = whole(stored, "score").filter(pl.col("step") == 1700)["value"].to_numpy()
    assert (at["value"], at["top"]) == pytest.approx(tuple(np.quantile(every, (0.05, 0.95))))


def test_all_heads_are_there_at_a_few_steps(frames: Frames) -> None:
    few = frames.everywhere("score")
    assert few["place"].n_unique() == HEADS
    assert 1 < few["step"].n_unique() <= 11
    assert few["step"].max() == (STEPS - 1) * 100
    assert few.height == HEADS * few["step"].n_unique()


def test_positions_are_averaged_over_bands(frames: Frames, stored: Path) -> None:
    rows, every = frames.curves("loss_by_position"), whole(stored, "loss_by_position")
    assert rows["index"].n_unique() < POSITIONS
    alone = rows.filter((pl.col("index") == 7) & (pl.col("step") == 300))["value"].item()
    assert alone == every.filter((pl.col("index") == 7) & (pl.col("step") == 300))["value"].item()
    starts = rows["index"].unique().sort().to_list()
    first, after = starts[-2:]
    band = every.filter(pl.col("index").is_between(first, after, closed="left") & (pl.col("step") == 300))["value"]
    mean = rows.filter((pl.col("index") == first) & (pl.col("step") == 300))["value"].item()
    assert mean == pytest.approx(band.mean())


def test_no_long_metric_comes_into_this_process_whole(
    stored: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    ask = Store.query

    def counted(store: Store, sql: str, parameters: tuple = ()) -> pl.DataFrame:
        seen.append(ask(store, sql, parameters))
        return seen[-1]

    monkeypatch.setattr(Store, "query", counted)
    read_frames(stored)
    assert max(frame.height for frame in seen) < HEADS * STEPS


def test_every_figure_is_drawn_of_it_and_the_report_says_what_they_show(frames: Frames) -> None:
    document = compose(frames, "long")
    page = html(document)
    assert "The 9,560 numbers of this run are more than figures can hold." in page
    assert "of Score: 12 of 64 curves" in page or "of score: 12 of 64 curves" in page
    assert "measurements.parquet" in document.words["reduced"]
    assert "2 of 65 curves over 3,000 checkpoints changed" in page
    assert {figure.name for figure in draw_figures(frames)} >= {"head_trajectories_score", "loss_by_position"}


def test_the_grid_of_heads_has_all_of_them(frames: Frames) -> None:
    spec = draw_chart(frames, "head_grid").specification()
    rows = max(spec["datasets"].values(), key=len)
    assert len({(row["layer"], row["head"]) for row in rows}) == HEADS


def test_small_panels_have_no_more_checkpoints_than_pixels(frames: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_multiples, "MAX_STEPS", 15)
    spec = draw_chart(frames, "layer_multiples").specification()
    steps = {row["step"] for rows in spec["datasets"].values() for row in rows}
    assert max(steps) == (STEPS - 1) * 100
    assert len(steps) == 14
    assert "pass through 14 of 40 checkpoints" in spec["description"]
    assert len(spec["concat"]) == HEADS // 8


def test_a_long_run_beside_a_short_one_counts_the_curves_of_both(stored: Path, small: None, tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        short = curve("score", np.arange(3), np.ones(3), layer=np.zeros(3, int), head=np.zeros(3, int))
        store.write(measurements=short, metrics=[metric_row("score", "layer,head")])
    frames = gather([stored, tmp_path]).frames
    assert frames.n_curves("score") == HEADS + 1
    assert sorted(frames.n_curves("score", series) for series in frames.series_names()) == [1, HEADS]
