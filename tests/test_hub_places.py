"""Eight kinds of place where a repo keeps its steps, and stages whose steps restart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dynamics
from conftest import tiny_model
from dynamics.prefetch import open_checkpoint
from hub_series import REPO, files_of, listed, steps_of
from hub_stand_in import StandIn


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
    series = listed({"kind": kind} | places[kind])
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
    series = listed({"kind": "bundle", "file": "run.pth"})
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
    series = listed({"pattern": pattern, "stages": stages})
    assert [(c.stage, c.step, c.tokens_seen) for c in series.checkpoints] == [
        ("stage1", 0, 0), ("stage1", 1000, 10_000), ("stage2", 0, 10_000), ("stage2", 1000, 30_000),
    ]  # fmt: skip
