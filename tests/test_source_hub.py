"""The hub as a source: eight kinds of place, the audit before any download, and what fetching leaves on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

import dynamics
import dynamics.sources.hub
from conftest import tiny_model
from dynamics.checkpoint import Checkpoint, hash_file
from dynamics.demo import tokenizer
from dynamics.errors import UsageError
from dynamics.prefetch import open_checkpoint, published_sha
from dynamics.sources import Series, catalogue
from hub_stand_in import StandIn

STEPS = (0, 1, 2, 4, 8, 16, 32, 64)
REPO = "acme/tiny"


def files_of(seed: int) -> dict[str, bytes]:
    """A checkpoint as a repo holds it."""
    model = tiny_model(seed)
    tensors = {name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}
    return {
        "model.safetensors": save(tensors, {"format": "pt"}),
        "config.json": json.dumps(model.config.to_dict() | {"model_type": "small_transformer"}, default=str).encode(),
        "tokenizer.json": tokenizer().to_str().encode(),
    }


def publish(hub: StandIn, steps: tuple[int, ...] = STEPS) -> None:
    """One branch for each step; `main` is the last."""
    repo = hub.repo(REPO)
    for step in steps:
        repo.commit(files_of(step), branch=f"step{step}")
    repo.commit(files_of(steps[-1]), branch="main")


def steps_of(series: Series) -> list[int]:
    return [checkpoint.step for checkpoint in series.checkpoints]


def reasons(series: Series) -> dict[int, str]:
    return {checkpoint.step: reason for checkpoint, reason in series.left_out}


def test_branches_are_listed_and_pinned(hub: StandIn) -> None:
    publish(hub)
    series = dynamics.open_series(f"hub:{REPO}")
    assert steps_of(series) == list(STEPS)
    assert series.checkpoints[2].revision == f"step2@{hub.repos[REPO].branches['step2']}"
    assert series.ignored == ("main",)
    assert not hub.requests("GET", "/resolve/")


def test_what_is_fetched_is_what_was_published_and_is_asked_for_once(hub: StandIn) -> None:
    publish(hub)
    series = dynamics.open_series(f"hub:{REPO}", steps="4")
    opened = open_checkpoint(series, series.checkpoints[0])
    expected = dict(tiny_model(4).named_parameters())
    assert all(torch.equal(opened.weights.tensors[name], expected[name]) for name in expected)
    assert opened.weights.sha == published_sha(series, series.checkpoints[0])
    assert opened.files.tokenizer is not None
    before = len(hub.log)
    open_checkpoint(series, series.checkpoints[0])
    assert len(hub.log) == before


def test_offline_everything_comes_from_the_cache_without_a_request(
    hub: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub)
    first = dynamics.open_series(f"hub:{REPO}", steps="0,64")
    for checkpoint in first.checkpoints:
        first.fetch(checkpoint)
    before = len(hub.log)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = dynamics.open_series(f"hub:{REPO}", steps="0,64")
    assert [again.fetch(c) for c in again.checkpoints] == [first.fetch(c) for c in first.checkpoints]
    assert len(hub.log) == before
    with pytest.raises(dynamics.sources.UsageError, match="HF_HUB_OFFLINE"):
        dynamics.open_series("hub:acme/other")


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
    entry = next(catalogue.expand({
        "name": "t", "title": "t", "repo": REPO, "kind": "branch", "tokens_per_step": 4_194_304,
        "pattern": r"step(?P<step>\d+)-tokens(?P<tokens>\d+)(?P<tokens_unit>B)",
    }))  # fmt: skip
    for series in (dynamics.sources.hub.open_entry(entry, None, dynamics.sources.Access()),
                   dynamics.open_series(f"hub:{REPO}", include_defective=True)):  # fmt: skip
        checked = series.without_defects(series.checkpoints[-1])
        assert steps_of(checked) == [1000, 2000, 4000, 5000]
        assert "99,000,000,000 tokens" in reasons(checked)[3000]


def test_reported_defects_are_believed_only_where_hashes_cannot_tell(hub: StandIn) -> None:
    publish(hub)
    settings = {"name": "t", "title": "t", "repo": REPO, "kind": "branch", "pattern": r"step(?P<step>\d+)"}
    defects = [{"steps": "2,4", "problem": "duplicate", "reason": "said to be equal"},
               {"steps": "16", "problem": "wrong", "reason": "another run's"}]  # fmt: skip
    entry = next(catalogue.expand(settings | {"defects": defects}))
    series = dynamics.sources.hub.open_entry(entry, None, dynamics.sources.Access())
    checked = series.without_defects(series.checkpoints[-1])
    assert reasons(checked) == {16: "another run's"}


def test_a_report_that_hashes_confirm_clears_the_other_step(hub: StandIn) -> None:
    repo = hub.repo(REPO)
    for step in (1, 2, 4):
        repo.commit(files_of(4 if step == 2 else step), branch=f"step{step}")
    entry = next(catalogue.expand({
        "name": "t", "title": "t", "repo": REPO, "kind": "branch", "pattern": r"step(?P<step>\d+)",
        "defects": [{"steps": "2", "problem": "duplicate", "reason": "issue 5"}],
    }))  # fmt: skip
    series = dynamics.sources.hub.open_entry(entry, None, dynamics.sources.Access())
    checked = series.without_defects(series.checkpoints[-1])
    assert reasons(checked) == {2: "the same weights as step 4; issue 5"}


@pytest.fixture
def places(hub: StandIn) -> dict[str, dict[str, object]]:
    """Each kind of place with three steps, and the entry's settings that find them."""
    three = (0, 1000, 2000)
    tagged, commits, folders, files = (hub.repo(f"acme/{name}") for name in ("tags", "commits", "folders", "files"))
    for step in three:
        tagged.commit(files_of(step), tag=f"global_step{step}")
        commits.commit(files_of(step), branch="run-1", title=f"Saving HF Model -- Step {step}")
        commits.commit({"learning_dynamics": b"x"}, branch="run-1", title=f"Saving Learning Dynamics -- Step {step}")
        hub.repo(f"acme/bert-step_{step // 1000}k").commit(files_of(step), branch="main")
    tagged.commit({"README.md": b""}, branch="main")
    tree = {f"hf_ckpt/{0.5 * step:.2f}B/{name}": content for step in three for name, content in files_of(step).items()}
    folders.commit(tree | {"README.md": b""}, branch="main")
    files.commit(
        {f"checkpoints/tokens_{step * 1000:012d}.safetensors": files_of(step)["model.safetensors"] for step in three}
        | {"model_final.pth": b"", "config.json": files_of(0)["config.json"]},
        branch="main",
    )
    named = hub.repo("acme/named")
    for step, name in enumerate(("kestrel", "ocelot", "jellyfish")):
        named.commit(files_of(step), branch=name)
    return {
        "tag": {"repo": "acme/tags", "pattern": r"global_step(?P<step>\d+)"},
        "commit": {"repo": "acme/commits", "revision": "run-1", "pattern": r"Saving HF Model -- Step (?P<step>\d+)"},
        "subfolder": {"repo": "acme/folders", "pattern": r"hf_ckpt/(?P<tokens>[\d.]+)(?P<tokens_unit>B)"},
        "file": {"repo": "acme/files", "pattern": r"checkpoints/tokens_(?P<tokens>\d{12})\.safetensors"},
        "repo": {"repo": "acme/bert-step_{label}k", "labels": "0..3:1",
                 "pattern": r"acme/bert-step_(?P<step>\d+)(?P<unit>k)"},
        "named": {"repo": "acme/named", "places": [{"step": i + 1, "revision": name, "tokens": i * 10}
                                                   for i, name in enumerate(("kestrel", "ocelot", "jellyfish"))]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("tag", [0, 1000, 2000]), ("commit", [0, 1000, 2000]), ("subfolder", [0, 500 * 10**9, 1000 * 10**9]),
        ("file", [0, 10**6, 2 * 10**6]), ("repo", [0, 1000, 2000]), ("named", [1, 2, 3]),
    ],
)  # fmt: skip
def test_every_kind_of_place(places: dict[str, dict[str, object]], kind: str, steps: list[int]) -> None:
    entry = next(catalogue.expand({"name": "t", "title": "t", "kind": kind} | places[kind]))
    series = dynamics.sources.hub.open_entry(entry, None, dynamics.sources.Access())
    assert steps_of(series) == steps
    assert not series.without_defects(series.checkpoints[-1]).left_out
    seeds = (0, 1, 2) if kind == "named" else (0, 1000, 2000)
    for seed, checkpoint in zip(seeds, series.checkpoints, strict=True):
        opened = open_checkpoint(series, checkpoint)
        assert torch.equal(opened.weights.tensors["embed.W_E"], tiny_model(seed).embed.W_E)
        assert opened.weights.config is not None
    if kind == "repo":
        assert "acme/bert-step_3k" in series.ignored[0]


def test_many_steps_in_one_file_of_a_repo(hub: StandIn, tmp_path: Path) -> None:
    states = [dict(tiny_model(seed).state_dict()) for seed in range(3)]
    torch.save({"checkpoints": states, "checkpoint_epochs": [0, 100, 200]}, tmp_path / "run.pth")
    hub.repo(REPO).commit({"run.pth": (tmp_path / "run.pth").read_bytes()}, branch="main")
    entry = next(catalogue.expand({"name": "t", "title": "t", "repo": REPO, "kind": "bundle", "file": "run.pth"}))
    series = dynamics.sources.hub.open_entry(entry, None, dynamics.sources.Access())
    assert steps_of(series) == [0, 100, 200]
    opened = open_checkpoint(series, series.checkpoints[1])
    assert torch.equal(opened.weights.tensors["embed.W_E"], tiny_model(1).embed.W_E)


@pytest.mark.parametrize("repo", ["acme/tags", "acme/commits@run-1"])
def test_places_are_discovered(places: dict[str, dict[str, object]], repo: str) -> None:
    assert places
    assert steps_of(dynamics.open_series(f"hub:{repo}")) == [0, 1000, 2000]


def test_steps_that_restart_by_stage_are_told_apart(hub: StandIn) -> None:
    repo = hub.repo(REPO)
    for seed, name in enumerate(("stage2-step0", "stage1-step0", "stage1-step1000", "stage2-step1000")):
        repo.commit(files_of(seed), branch=name)
    stages = [{"name": "stage1", "tokens_per_step": 10, "tokens_before": 0},
              {"name": "stage2", "tokens_per_step": 20, "tokens_before": 10_000}]  # fmt: skip
    pattern = r"(?P<stage>stage\d)-step(?P<step>\d+)"
    entry = next(catalogue.expand(
        {"name": "t", "title": "t", "repo": REPO, "kind": "branch", "pattern": pattern, "stages": stages}
    ))  # fmt: skip
    series = dynamics.sources.hub.open_entry(entry, None, dynamics.sources.Access())
    assert [(c.stage, c.step, c.tokens_seen) for c in series.checkpoints] == [
        ("stage1", 0, 0), ("stage1", 1000, 10_000), ("stage2", 0, 10_000), ("stage2", 1000, 30_000),
    ]  # fmt: skip


def test_safetensors_are_taken_and_their_second_copy_is_not(hub: StandIn) -> None:
    hub.repo(REPO).commit(files_of(0) | {"pytorch_model.bin": b"the same again"}, branch="step0")
    series = dynamics.open_series(f"hub:{REPO}")
    series.fetch(series.checkpoints[0])
    assert not hub.requests("GET", "pytorch_model.bin")
    assert not hub.requests("GET", "discussions")  # no conversion is asked for


def test_a_path_out_of_the_repo_is_refused(hub: StandIn, tmp_path: Path) -> None:
    entry = {"name": "t", "title": "t", "repo": REPO, "kind": "file", "pattern": r"(?:.*/)?tokens_(?P<tokens>\d+)\.pth"}
    hub.repo(REPO).commit({"../../tokens_1.pth": b"x"}, branch="main")
    series = dynamics.sources.hub.open_entry(next(catalogue.expand(entry)), None, dynamics.sources.Access())
    with pytest.raises(dynamics.errors.CheckpointError, match="outside its own folder"):
        series.fetch(series.checkpoints[0])
    assert not list(tmp_path.rglob("tokens_1.pth"))


@pytest.mark.parametrize(
    ("locator", "message"),
    [
        ("datadecide-c4-4M", "hf_olmo"), ("crystal", "--trust-remote-code"),
        ("pythia-160", "did you mean 'pythia-160m'"),
        ("hub:acme/absent", "not at"), ("hub:nonsense", "ORG/NAME"), ("hub:acme/stepless", "no steps in the names"),
        ("acme/tiny", "hub:acme/tiny"), ("ftp:acme", "unknown source 'ftp'"),
    ],
)  # fmt: skip
def test_what_cannot_be_opened_is_refused_with_the_reason(hub: StandIn, locator: str, message: str) -> None:
    hub.repo("acme/stepless").commit({"model.safetensors": b""}, branch="main")
    with pytest.raises(UsageError, match=message):
        dynamics.open_series(locator)


def test_the_catalogue_entry_of_a_repo_is_used_for_the_repo_too(hub: StandIn) -> None:
    repo = hub.repo("EleutherAI/pythia-14m")
    for step in (0, 1, 1000):
        repo.commit(files_of(step), branch=f"step{step}")
    named, by_repo = dynamics.open_series("pythia-14m"), dynamics.open_series("hub:EleutherAI/pythia-14m")
    assert named.checkpoints == tuple(Checkpoint("pythia-14m", c.step, "", c.tokens_seen, c.revision)
                                      for c in by_repo.checkpoints)  # fmt: skip
    assert [c.tokens_seen for c in named.checkpoints] == [0, 2_097_152, 2_097_152_000]


def test_every_recipe_of_datadecide_is_listed_and_refused_with_the_reason() -> None:
    found = [entry for entry in catalogue.entries().values() if entry.repo.startswith("allenai/DataDecide-")]
    assert len({entry.repo.rsplit("-", 1)[0] for entry in found}) == 25
    assert len({entry.repo.rsplit("-", 1)[1] for entry in found}) == 14
    assert len({entry.repo for entry in found}) == 25 * 14
    assert all("hf_olmo" in entry.refused for entry in found)


def test_every_entry_of_the_catalogue_says_what_a_person_needs() -> None:
    entries = catalogue.entries()
    assert len(entries) > 150
    for entry in entries.values():
        assert entry.licence, entry.name
        assert entry.pattern or entry.places, entry.name
        assert entry.family or entry.refused, entry.name


@pytest.mark.parametrize(
    ("name", "label", "stage", "step", "tokens"),
    [
        ("pythia-160m", "step143000", "", 143000, None),
        ("olmo-1b", "step738020-tokens3095B", "", 738020, 3095 * 10**9),
        ("olmo-2-7b", "step150-tokens1B", "", 150, 10**9),
        ("olmo-2-7b", "stage2-ingredient3-step11931-tokens51B", "stage2-ingredient3", 11931, 51 * 10**9),
        ("olmo-3-7b", "stage3-step11921", "stage3", 11921, None),
        ("amber", "ckpt_003", "", 3, None),
        ("crystal", "CrystalCoder_phase2_checkpoint_003000", "phase2", 3000, None),
        ("bloom-560m", "global_step100000", "", 100000, None),
        ("mistral-alias-gpt2-small-x21", "checkpoint-400000", "", 400000, None),
        ("multiberts-seed2", "google/multiberts-seed_2-step_1900k", "", 1_900_000, None),
        ("smollm3-3b", "lc-4k-to-32k-step-20000", "lc-4k-to-32k", 20000, None),
        ("apertus-8b", "step2627139-tokens15T", "", 2627139, 15 * 10**12),
        ("comma-v0.1-1t", "stage1-step010000-tokens20B", "stage1", 10000, 20 * 10**9),
        ("pico-tiny", "Saving HF Model -- Step 1000", "", 1000, None),
        ("neo-scalinglaw-250M", "hf_ckpt/16.78B", "", 16_780_000_000, 16_780_000_000),
        ("toy-GELU-1L512W", "checkpoints/tokens_000000262144.pth", "", 262144, 262144),
        ("ablation-the-pile", "step-001000-2BT", "", 1000, 2 * 10**9),
    ],
)  # fmt: skip
def test_real_names_are_read(name: str, label: str, stage: str, step: int, tokens: int | None) -> None:
    from dynamics.sources.names import read_name

    read = read_name(label, catalogue.find(name).pattern or "")
    assert read is not None
    assert (read.stage, read.step, read.tokens) == (stage, step, tokens)
    assert read_name("main", catalogue.find(name).pattern or "") is None


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
    small = dynamics.open_series(f"hub:{REPO}", disk_budget=10)
    with pytest.raises(dynamics.errors.CheckpointError, match="more than the disk budget"):
        small.fetch(small.checkpoints[0])
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
