"""What is wrong with a published history is found before any download, and what is left out says why."""

from __future__ import annotations

from pathlib import Path

import dynamics
from dynamics.checkpoint import hash_file
from hub_series import REPO, STEPS, files_of, listed, publish, reasons, steps_of
from hub_stand_in import StandIn


def test_defective_checkpoints_are_left_out_with_the_reason(hub: StandIn) -> None:
    repo = hub.repo(REPO)
    for step in STEPS:
        files = files_of({8: 4, 1: 0, 2: 64}.get(step, step))
        if step == 16:
            del files["model.safetensors"]
        repo.commit(files, branch=f"step{step}")
    repo.commit(files_of(64), branch="main")
    series = dynamics.open_series(f"hub:{REPO}")
    assert steps_of(series) == [0, 1, 32, 64]  # the learning rate starts at 0: steps 0 and 1 may be equal
    assert reasons(series)[4] == "the same weights as step 8"
    assert reasons(series)[8] == "the same weights as step 4"
    assert reasons(series)[2] == "the same weights as step 64, main"
    assert "no weight file" in reasons(series)[16]
    assert not hub.requests("GET", "/resolve/")
    assert steps_of(dynamics.open_series(f"hub:{REPO}", include_defective=True)) == list(STEPS)


def test_shards_of_another_step_are_found(hub: StandIn) -> None:
    repo = hub.repo(REPO)
    for step in (0, 1000, 2000, 3000):
        shards = [b"%d first" % (3000 if step == 1000 else step), b"%d second" % step]
        files = {f"pytorch_model-0000{i + 1}-of-00002.bin": shard for i, shard in enumerate(shards)}
        if step == 2000:
            del files["pytorch_model-00002-of-00002.bin"]
        repo.commit(files, branch=f"step{step}")
    repo.commit({"README.md": b"no weights here"}, branch="main")
    series = dynamics.open_series(f"hub:{REPO}")
    assert steps_of(series) == [0]
    assert reasons(series)[1000] == "some of the same weight files as step 3000"
    assert "1 of the 2 files" in reasons(series)[2000]


def test_labels_that_contradict_the_steps_are_found(hub: StandIn) -> None:
    repo = hub.repo(REPO)
    for step, tokens in ((1000, 4), (2000, 8), (3000, 99), (4000, 17), (5000, 21)):
        repo.commit(files_of(step), branch=f"step{step}-tokens{tokens}B")
    pattern = r"step(?P<step>\d+)-tokens(?P<tokens>\d+)(?P<tokens_unit>B)"
    known = listed({"tokens_per_step": 4_194_304, "pattern": pattern})
    for series in (known, dynamics.open_series(f"hub:{REPO}", include_defective=True)):
        checked = series.without_defects(series.checkpoints[-1])
        assert steps_of(checked) == [1000, 2000, 4000, 5000]
        assert "99,000,000,000 tokens" in reasons(checked)[3000]


def test_reported_defects_are_believed_only_where_hashes_cannot_tell(hub: StandIn) -> None:
    publish(hub)
    defects = [{"steps": "2,4", "problem": "duplicate", "reason": "said to be equal"},
               {"steps": "16", "problem": "wrong", "reason": "another run's"}]  # fmt: skip
    series = listed({"pattern": r"step(?P<step>\d+)", "defects": defects})
    checked = series.without_defects(series.checkpoints[-1])
    assert reasons(checked) == {16: "another run's"}


def test_a_report_that_hashes_confirm_clears_the_other_step(hub: StandIn) -> None:
    repo = hub.repo(REPO)
    for step in (1, 2, 4):
        repo.commit(files_of(4 if step == 2 else step), branch=f"step{step}")
    defects = [{"steps": "2", "problem": "duplicate", "reason": "issue 5"}]
    series = listed({"pattern": r"step(?P<step>\d+)", "defects": defects})
    checked = series.without_defects(series.checkpoints[-1])
    assert reasons(checked) == {2: "the same weights as step 4; issue 5"}


def test_a_sweep_records_what_was_left_out(hub: StandIn, tmp_path: Path) -> None:
    repo = hub.repo(REPO)
    for step in (1, 2, 4, 8):
        repo.commit(files_of(2 if step == 4 else step), branch=f"step{step}")
    run = dynamics.measure(dynamics.open_series(f"hub:{REPO}"), ["sum_of_squared_weights"], out=tmp_path / "out")
    rows = {row["step"]: row for row in run.checkpoints().iter_rows(named=True)}
    assert rows[4]["status"] == rows[2]["status"] == "skipped"
    assert rows[4]["note"] == "left out: the same weights as step 2"
    assert run.measurements()["step"].to_list() == [1, 8]
    published = hub.repos[REPO].commits[hub.repos[REPO].branches["step8"]]["model.safetensors"]
    (tmp_path / "expected").write_bytes(published)
    assert rows[8]["weights_sha"] == hash_file(tmp_path / "expected")
