"""The audit in the report: what is published of every checkpoint, what is wrong with it, what the source said."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import dynamics
from dashboards.frames import read_frames
from dashboards.provenance import Block, provenance
from hub_series import REPO, files_of
from hub_stand_in import StandIn


@pytest.fixture
def blocks(hub: StandIn, tmp_path: Path) -> dict[str, Block]:
    """A history with a copy, a missing file, a damaged one, a label that lies and a configuration that changes."""
    repo = hub.repo(REPO)
    for step in (0, 1, 2, 4, 8, 16, 32, 64, 128):
        files = files_of(2 if step == 4 else step)
        if step == 8:
            del files["model.safetensors"]
        if step == 32:
            files["model.safetensors"] = files["model.safetensors"][:2000]
        if step == 128:
            files["config.json"] = json.dumps(json.loads(files["config.json"]) | {"bos_token_id": 1}).encode()
        repo.commit(files, branch=f"step{step}-tokens{9 if step == 16 else step}M")
    repo.commit({"README.md": b"no weights"}, branch="main")
    run = dynamics.measure(
        dynamics.open_series(f"hub:{REPO}"), ["first_occurrence_loss"], out=tmp_path / "out",
        settings=dynamics.Settings({"repeated_tokens": {"n_examples": 2}}),
    )  # fmt: skip
    rows = run.checkpoints()
    assert rows.filter(pl.col("status") == "skipped")["step"].to_list() == [2, 4, 8, 16]
    return {block.title: block for block in provenance(read_frames(tmp_path / "out"))}


def test_every_checkpoint_stands_there_with_its_hash_its_size_and_the_whole_reason(blocks: dict[str, Block]) -> None:
    block = blocks["Checkpoints: 9, of them 1 failed, 4 skipped"]
    rows = {row[block.columns.index("step")]: dict(zip(block.columns, row, strict=True)) for row in block.rows}
    assert list(rows) == ["0", "1", "2", "4", "8", "16", "32", "64", "128"]
    assert rows["2"]["remark"] == "left out: the same weights as step 4"
    assert rows["2"]["SHA-256 of the weights"] == rows["4"]["SHA-256 of the weights"]
    assert len(rows["2"]["SHA-256 of the weights"]) == 64
    assert rows["2"]["bytes"] == rows["0"]["bytes"] == f"{len(files_of(0)['model.safetensors']):,}"
    assert rows["8"]["SHA-256 of the weights"] == "–"
    assert "no weight file" in rows["8"]["remark"]
    assert "its name says 9,000,000 tokens, but 16 steps are 16,000,000" in rows["16"]["remark"]
    assert rows["16"]["tokens"] == "16,000,000"
    assert rows["32"]["status"] == "failed"
    assert "built anew: bos_token_id 0 -> 1" in rows["128"]["remark"]
    assert rows["64"]["remark"] == ""


def test_what_the_source_said_stands_there(blocks: dict[str, Block]) -> None:
    said = [row[1] for row in blocks["What the sources said"].rows]
    assert said == [
        "tokens are counted as 1,000,000 for each step, which most names agree on",
        "the published weights of 9 checkpoints were compared, and 4 are left out",
        "1 names were not taken for checkpoints: main",
    ]


def test_numbers_of_a_checkpoint_that_is_left_out_since_are_in_no_curve(hub: StandIn, tmp_path: Path) -> None:
    repo = hub.repo(REPO)
    for step in (1, 2, 4):
        repo.commit(files_of(1 if step == 2 else step), branch=f"step{step}")
    for kept in (True, False, True):
        series = dynamics.open_series(f"hub:{REPO}", include_defective=kept)
        run = dynamics.measure(series, ["sum_of_squared_weights"], out=tmp_path / "out")
        assert run.measurements()["step"].unique().to_list() == ([1, 2, 4] if kept else [4])
        assert run.checkpoints().filter(pl.col("status") == "measured").height == (3 if kept else 1)


def test_steps_that_were_not_asked_for_are_counted(hub: StandIn) -> None:
    repo = hub.repo(REPO)
    for step in (1, 2, 4):
        repo.commit(files_of(step), branch=f"step{step}")
    assert dynamics.open_series(f"hub:{REPO}", steps="1,4").notes[0] == "2 of the 3 listed checkpoints were asked for"


def test_what_strangers_call_a_commit_is_text_and_nothing_more(hub: StandIn, tmp_path: Path) -> None:
    """Titles of commits become names of revisions, on the terminal and in the report."""
    harm = "</script><script>alert(1)</script><img src=x onerror=alert(2)>[red]\x1b[31m"
    for step in (0, 1000):
        hub.repo(REPO).commit(files_of(step), branch="run-1", title=f"{harm} step {step}")
        hub.repo(REPO).commit({"a": b""}, branch="run-1", title=f"{harm} ignored")
    series = dynamics.open_series(f"hub:{REPO}@run-1")
    assert [c.step for c in series.checkpoints] == [0, 1000]
    assert "\x1b" not in series.checkpoints[0].revision + "".join(series.ignored)
    run = dynamics.measure(series, ["sum_of_squared_weights"], out=tmp_path / "run")
    page = run.report().read_text("utf-8")
    assert "alert(1)" in page
    assert "<script>alert(1)" not in page
    assert "<img src=x" not in page
