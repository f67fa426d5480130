"""What charts are made from: one definition of each metric, gaps that stay gaps, names that fit."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from dashboards.frames import Frames, prepare, read_frames
from dynamics.errors import UsageError
from dynamics.store import SCHEMA
from test_chart_stores import FAILED_STEP, write_induction_run

Row = dict[str, object]


def tables(
    measurements: list[Row], checkpoints: list[Row] | None = None, **others: list[Row]
) -> dict[str, pl.DataFrame]:
    """Whole tables from a few columns of them."""
    given = {"measurements": measurements, "checkpoints": checkpoints or [], **others}
    return {
        table: pl.DataFrame([{name: row.get(name) for name in columns} for row in given.get(table, [])], schema=columns)
        for table, columns in SCHEMA.items()
    }


@pytest.fixture(scope="module")
def induction(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    return read_frames(write_induction_run(tmp_path_factory.mktemp("run")))


def test_a_failed_checkpoint_breaks_every_curve_of_its_series(induction: Frames) -> None:
    at = induction.measurements.filter(pl.col("step") == FAILED_STEP)
    broken = at.filter(pl.col("series") == "two-layer")
    assert broken.height == induction.measurements.filter(pl.col("series") == "two-layer")["curve"].n_unique()
    assert broken["value"].null_count() == broken.height
    assert at.filter(pl.col("series") == "one-layer")["value"].null_count() == 0


def test_the_series_with_events_comes_before_its_control(induction: Frames) -> None:
    assert induction.series_names() == ["two-layer", "one-layer"]


def test_metrics_with_events_come_first_and_axes_select(induction: Frames) -> None:
    assert induction.names("layer,head")[0] == "prefix_matching"
    assert induction.names("") == ["in_context_learning_score", "loss"]


def test_only_the_newest_definition_is_shown() -> None:
    row: Row = {"series": "a", "stage": "", "step": 1, "metric": "loss"}
    frames = prepare(tables([{**row, "version": 1, "value": 1.0}, {**row, "version": 2, "value": 2.0}]))
    assert frames.measurements["value"].to_list() == [2.0]


def test_one_task_is_shown_where_a_metric_was_measured_on_two() -> None:
    row: Row = {"series": "a", "stage": "", "metric": "loss", "version": 1, "value": 1.0}
    rows = [{**row, "step": step, "task_hash": "often"} for step in (1, 2)] + [{**row, "step": 1, "task_hash": "once"}]
    assert prepare(tables(rows)).measurements["task_hash"].to_list() == ["often", "often"]


def test_a_metric_that_reads_the_checkpoint_before_is_shown_at_every_step() -> None:
    """Its inputs differ from step to step in what stands behind the first part of their hash."""
    row: Row = {"series": "a", "stage": "", "metric": "jumps", "version": 1, "value": 1.0}
    rows = [{**row, "step": step, "task_hash": f"often++{step}"} for step in (1, 2, 3)]
    kept = prepare(tables([*rows, {**row, "step": 1, "task_hash": "once"}])).measurements
    assert kept["task_hash"].to_list() == ["often++1", "often++2", "often++3"]


def test_places_are_named_as_the_field_names_them() -> None:
    row: Row = {"series": "a", "stage": "", "step": 0, "version": 1, "value": 1.0}
    frames = prepare(
        tables([
            {**row, "metric": "attention", "layer": 1, "head": 2},
            {**row, "metric": "excluded_loss_by_frequency", "index": 14},
            {**row, "metric": "loss_by_position", "index": 3},
            {**row, "metric": "norm", "layer": 0, "label": "mlp"},
            {**row, "metric": "loss"},
        ])
    )  # fmt: skip
    assert frames.measurements["place"].to_list() == ["L1H2", "frequency 14", "", "position 3", "layer 0 mlp"]


def test_very_long_names_are_shortened_and_stay_distinct() -> None:
    row: Row = {"stage": "", "step": 0, "metric": "loss", "version": 1, "value": 1.0}
    names = ["x" * 10_000, "x" * 10_001, "short"]
    shown = prepare(tables([{**row, "series": name} for name in names])).series_names()
    assert len(set(shown)) == 3
    assert max(map(len, shown)) < 70
    assert "short" in shown


def test_tokens_are_offered_only_where_they_are_steps_times_a_constant() -> None:
    def ratio(*pairs: tuple[int, int | None]) -> float | None:
        rows = [{"series": "a", "stage": "", "step": step, "tokens_seen": tokens} for step, tokens in pairs]
        return prepare(tables([], rows)).tokens_per_step()

    assert ratio((0, 0), (1, 8), (10, 80)) == 8.0
    assert ratio((1, 8), (10, 90)) is None
    assert ratio((1, 8), (10, None)) is None
    assert ratio() is None


def test_a_folder_without_a_run_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run at .*dynamics run"):
        read_frames(tmp_path)
