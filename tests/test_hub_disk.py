"""What a series may take of the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

import dynamics
from dynamics.errors import UsageError
from hub_series import REPO, STEPS, files_of, publish
from hub_stand_in import StandIn


def test_a_disk_budget_holds_and_shared_files_count_once(hub: StandIn, tmp_path: Path) -> None:
    publish(hub)
    size = len(files_of(0)["model.safetensors"])
    series = dynamics.open_series(f"hub:{REPO}", disk_budget=int(2.5 * size))
    most = 0
    for checkpoint in series.checkpoints:
        series.fetch(checkpoint)
        kept = [path for path in (tmp_path / "cache").rglob("blobs/*") if path.stat().st_size == size]
        most = max(most, len(kept))
        series.release(checkpoint)
    assert most == 2
    with pytest.raises(UsageError, match=r"weights of tiny step 0 take [\d,]+ bytes, more than the disk budget of 10;"):
        dynamics.open_series(f"hub:{REPO}", disk_budget=10)
    assert len(list((tmp_path / "cache").rglob("model.safetensors"))) <= 2  # nothing was fetched for that
    with pytest.raises(UsageError, match="cannot read size"):
        dynamics.open_series(f"hub:{REPO}", disk_budget="much")


def test_a_sweep_within_a_budget_of_one_checkpoint(hub: StandIn, tmp_path: Path) -> None:
    publish(hub)
    size = len(files_of(0)["model.safetensors"])
    series = dynamics.open_series(f"hub:{REPO}", disk_budget=int(1.2 * size))
    run = dynamics.measure(series, ["sum_of_squared_weights"], out=tmp_path / "out")
    assert run.checkpoints()["status"].to_list() == ["measured"] * len(STEPS)
    before = len(hub.requests("GET", "/resolve/"))
    again = dynamics.open_series(f"hub:{REPO}", disk_budget=int(1.2 * size))
    dynamics.measure(again, ["sum_of_squared_weights"], out=tmp_path / "out")
    # What is stored is not fetched again, but for the one checkpoint that the model is built from.
    assert len(hub.requests("GET", "/resolve/")) <= before + 3
