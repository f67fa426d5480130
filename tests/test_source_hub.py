"""The hub as a source: what is listed, fetched and kept, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dynamics
from conftest import tiny_model
from dynamics.errors import UsageError
from dynamics.prefetch import open_checkpoint, published_sha
from hub_series import REPO, STEPS, files_of, listed, publish, steps_of
from hub_stand_in import StandIn


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


def test_safetensors_are_taken_and_their_second_copy_is_not(hub: StandIn) -> None:
    hub.repo(REPO).commit(files_of(0) | {"pytorch_model.bin": b"the same again"}, branch="step0")
    series = dynamics.open_series(f"hub:{REPO}")
    series.fetch(series.checkpoints[0])
    assert not hub.requests("GET", "pytorch_model.bin")
    assert not hub.requests("GET", "discussions")  # no conversion is asked for


def test_a_path_out_of_the_repo_is_refused(hub: StandIn, tmp_path: Path) -> None:
    hub.repo(REPO).commit({"../../tokens_1.pth": b"x"}, branch="main")
    series = listed({"kind": "file", "pattern": r"(?:.*/)?tokens_(?P<tokens>\d+)\.pth"})
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


def test_a_repo_that_has_moved_is_followed(hub: StandIn) -> None:
    """As LLM360's Amber, whose organisation has another name now: under its old name it is what it was."""
    publish(hub, (0, 1000))
    hub.moved["LLM360/Old"] = REPO
    series = dynamics.open_series("hub:LLM360/Old")
    assert steps_of(series) == [0, 1000]
    opened = open_checkpoint(series, series.checkpoints[1])
    assert torch.equal(opened.weights.tensors["ln_final.w"], tiny_model(1000).ln_final.w)
    assert opened.files.tokenizer is not None
