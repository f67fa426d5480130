"""What is wrong with a published history is found before any download, and what is left out says why."""

from __future__ import annotations

from pathlib import Path

import pytest

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


def numbered(hub: StandIn, repo: str, weights: dict[str, bytes], main: bytes) -> None:
    """A repo whose branches hold these contents as their weights, which nobody opens."""
    for branch, content in ({"main": main} | weights).items():
        hub.repo(repo).commit({"model.safetensors": content}, branch=branch)


def test_of_pythia_2_8b_the_68_real_checkpoints_remain(hub: StandIn) -> None:
    """The state that was reported: 76 branches hold the weights of main, and 10 others share one file."""
    grid = [0, *(2**i for i in range(10)), *range(1000, 144_000, 1000)]
    copied = {0, *(2**i for i in range(10)), *range(1000, 54_000, 1000),
              *(k * 1000 for k in (55, 60, 65, 70, 80, 90, 100, 103, 110, 120, 130, 140))}  # fmt: skip
    shared = {k * 1000 for k in (54, 56, 57, 58, 59, 61, 62, 63, 64, 143)}
    assert (len(grid), len(copied), len(shared)) == (154, 76, 10)
    weights = {f"step{s}": b"main" if s in copied else b"second" if s in shared else b"%d" % s for s in grid}
    numbered(hub, "EleutherAI/pythia-2.8b", weights, b"main")
    series = dynamics.open_series("pythia-2.8b")
    assert steps_of(series) == sorted({*grid} - copied - shared)
    assert len(series.checkpoints) == 68


@pytest.mark.parametrize(("steps", "left"), [("54000,66000", [66000]), ("143000,66000", [66000])])
def test_a_reported_copy_is_found_where_the_original_was_not_asked_for(
    hub: StandIn, steps: str, left: list[int]
) -> None:
    weights = {f"step{s}": b"second" if s in (54000, 143000) else b"%d" % s for s in (53000, 54000, 66000, 143000)}
    numbered(hub, "EleutherAI/pythia-2.8b", weights, b"main")
    assert steps_of(dynamics.open_series("pythia-2.8b", steps=steps)) == left


def test_three_equal_checkpoints_of_olmo_2_are_left_out_each_by_itself(hub: StandIn) -> None:
    steps = (101000, 175000, 300000, 400000)
    names = {step: f"stage1-step{step}-tokens{-(-step * 4_194_304 // 10**9)}B" for step in steps}
    weights = {name: b"%d" % step if step == 400000 else b"one" for step, name in names.items()}
    numbered(hub, "allenai/OLMo-2-1124-7B", weights, b"averaged")
    assert steps_of(dynamics.open_series("olmo-2-7b", steps="175000,400000")) == [400000]


def test_the_final_models_first_shard_in_pythia_12b_is_found(hub: StandIn) -> None:
    for branch in ("step49000", "step50000", "step143000", "main"):
        real = b"step143000" if branch == "main" else branch.encode()
        first = b"step143000 1" if branch == "step50000" else real + b" 1"
        shards = {"pytorch_model-00001-of-00002.bin": first, "pytorch_model-00002-of-00002.bin": real + b" 2"}
        hub.repo("EleutherAI/pythia-12b").commit(shards, branch=branch)
    series = dynamics.open_series("pythia-12b", steps="49000,50000")
    assert steps_of(series) == [49000]
    assert reasons(series)[50000].startswith("some of the same weight files as main; reported")


def test_a_name_of_another_step_by_a_digit_is_found(hub: StandIn) -> None:
    """As "step24300-tokens509B", which is step 243,000."""
    weights = {f"step{s}-tokens{t}B": b"%d" % s for s, t in ((24300, 509), (24000, 50), (243000, 509), (1000, 2))}
    numbered(hub, "allenai/OLMo-1B-0724-hf", weights, b"main")
    series = dynamics.open_series("olmo-1b-0724")
    assert list(reasons(series)) == [24300]
    assert "509,000,000,000 tokens, but 24300 steps are 50,960,793,600" in reasons(series)[24300]


def test_weights_of_another_initialisation_are_left_out_on_report(hub: StandIn) -> None:
    numbered(hub, "EleutherAI/pythia-160m-weight-seed2", {f"step{s}": b"%d" % s for s in (0, 1, 1000)}, b"1000")
    series = dynamics.open_series("pythia-160m-weight-seed2")
    assert "not to descend from this step 0" in reasons(series)[0]
    assert steps_of(series) == [1, 1000]
