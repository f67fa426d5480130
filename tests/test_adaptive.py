"""Adaptive sweeps: fewer checkpoints, the same events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import dynamics
from conftest import tiny_model
from dynamics.errors import UsageError
from dynamics.sources import open_series
from dynamics.sweep import Settings
from dynamics.training import save

METRICS = ["sum_of_squared_weights"]


@pytest.fixture
def jump(tmp_path: Path) -> Path:
    """Forty checkpoints of one model whose weights double between steps 340 and 350."""
    model = tiny_model(d_model=8, n_layers=1, n_heads=1)
    for step in range(10, 410, 10):
        if step == 350:
            for parameter in model.parameters():
                parameter.data.mul_(2)
        save(model, tmp_path / "jump" / f"step{step}", None)
    return tmp_path / "jump"


def test_the_gap_of_a_jump_is_found_with_few_checkpoints(jump: Path, tmp_path: Path) -> None:
    series = open_series(f"folder:{jump}")
    dynamics.measure(series, METRICS, out=tmp_path / "few", settings=Settings(budget=20))
    dynamics.measure(series, METRICS, out=tmp_path / "all")
    few, full = dynamics.Run(tmp_path / "few"), dynamics.Run(tmp_path / "all")
    status = dict(few.checkpoints()["status"].value_counts().rows())
    assert status["measured"] <= 20
    assert status["measured"] + status["skipped"] == 40
    assert {340, 350} <= set(few.measurements()["step"])
    for run in (few, full):
        event = run.detect().filter(pl.col("kind") == "transition").row(0, named=True)
        assert (event["lower"], event["upper"]) == pytest.approx((340, 350))


def test_a_skipped_checkpoint_is_measured_when_it_is_asked_for(jump: Path, tmp_path: Path) -> None:
    series = open_series(f"folder:{jump}")
    dynamics.measure(series, METRICS, out=tmp_path / "run", settings=Settings(budget=12))
    dynamics.measure(series, METRICS, out=tmp_path / "run")
    assert set(dynamics.Run(tmp_path / "run").checkpoints()["status"]) == {"measured"}


def test_a_checkpoint_that_fails_is_not_asked_for_again(jump: Path, tmp_path: Path) -> None:
    (jump / "step10" / "model.safetensors").write_bytes(b"")
    run = dynamics.measure(open_series(f"folder:{jump}"), METRICS, out=tmp_path / "run", settings=Settings(budget=12))
    assert run.failed()["step"].to_list() == [10]
    assert len(run.measurements()) > 8


def test_a_budget_too_small_for_any_event_is_refused(jump: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="budget is 5 checkpoints: expected at least 8"):
        dynamics.measure(open_series(f"folder:{jump}"), METRICS, out=tmp_path / "run", settings=Settings(budget=5))


def test_steps_that_restart_have_no_order_to_sweep(jump: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    series = open_series(f"folder:{jump}")
    staged = replace(series, checkpoints=(replace(series.checkpoints[0], stage="a"), *series.checkpoints[1:]))
    with pytest.raises(UsageError, match="restart by stage"):
        dynamics.measure(staged, METRICS, out=tmp_path / "run", settings=Settings(budget=12))


def test_the_published_grokking_run_needs_few_checkpoints(
    reference_data: Callable[[str], Path], tmp_path: Path
) -> None:
    series = open_series(f"folder:{reference_data('series/modular-addition-p113')}")
    metrics = ["test_loss", "test_accuracy"]
    few = dynamics.measure(series, metrics, out=tmp_path / "few", settings=Settings(budget=12))
    assert len(set(few.measurements()["step"])) <= 12 < len(series.checkpoints) == 24


def test_a_run_that_grows_is_followed(jump: Path, tmp_path: Path) -> None:
    run, known, said = dynamics.Run(tmp_path / "run"), None, []
    for last in (370, 400):
        dynamics.measure(open_series(f"folder:{jump}", steps=f"10..{last}"), METRICS, out=tmp_path / "run")
        known = run.follow(known)
        said.append(known.filter(pl.col("lower").round() == 340)["status"].to_list())
    assert said == [["tentative"], ["confirmed"]]
    assert run.events().is_empty()
    with pytest.raises(UsageError, match="no_such not in"):
        run.follow(known, ["no_such"])
