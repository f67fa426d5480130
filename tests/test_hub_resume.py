"""Downloads that were cut off or killed: they go on where they stopped, never with the bytes of another content."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import dynamics
from conftest import tiny_model
from dynamics.checkpoint import hash_file
from dynamics.prefetch import open_checkpoint
from dynamics.sources.hub_files import PARTIAL
from hub_series import REPO, files_of, publish
from hub_stand_in import StandIn

FILE = "model.safetensors"


def content_of(step: int) -> tuple[bytes, str]:
    """A checkpoint's weights, and the name of their blob."""
    import hashlib

    content = files_of(step)[FILE]
    return content, hashlib.sha256(content).hexdigest()


def leave_partial(cache: Path, name: str, content: bytes) -> Path:
    """What a killed download leaves."""
    partial = cache / "models--acme--tiny" / "blobs" / (name + PARTIAL)
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(content)
    return partial


def fetched(step: int) -> bool:
    """Whether a checkpoint arrives as it was published."""
    series = dynamics.open_series(f"hub:{REPO}", steps=str(step))
    opened = open_checkpoint(series, series.checkpoints[0])
    expected = dict(tiny_model(step).named_parameters())
    return all(torch.equal(opened.weights.tensors[name], expected[name]) for name in expected)


def test_a_partial_file_is_continued_where_it_ends(hub: StandIn, tmp_path: Path) -> None:
    publish(hub, (0, 1000))
    content, name = content_of(1000)
    leave_partial(tmp_path / "cache", name, content[:5000])
    assert fetched(1000)
    assert hub.ranges == ["bytes=5000-"]
    assert hash_file(tmp_path / "cache" / "models--acme--tiny" / "blobs" / name) == name
    assert not list((tmp_path / "cache").rglob("*.incomplete"))


def test_a_partial_file_that_is_whole_needs_no_request(hub: StandIn, tmp_path: Path) -> None:
    publish(hub, (0, 1000))
    content, name = content_of(1000)
    leave_partial(tmp_path / "cache", name, content)
    assert fetched(1000)
    assert not hub.requests("GET", FILE)


@pytest.mark.parametrize("left", [b"\0" * 5000, b"longer than the file itself" * 20_000])
def test_a_damaged_partial_file_is_begun_again(hub: StandIn, tmp_path: Path, left: bytes) -> None:
    publish(hub, (0, 1000))
    _, name = content_of(1000)
    leave_partial(tmp_path / "cache", name, left)
    assert fetched(1000)
    assert not list((tmp_path / "cache").rglob("*.incomplete"))


def test_a_hub_that_sends_the_whole_instead_of_the_rest(hub: StandIn, tmp_path: Path) -> None:
    publish(hub, (0, 1000))
    content, name = content_of(1000)
    leave_partial(tmp_path / "cache", name, content[:5000])
    hub.fail("GET", FILE, "whole")
    assert fetched(1000)
    assert len(hub.requests("GET", FILE)) == 1


def test_a_branch_that_has_moved_never_continues_what_it_was(hub: StandIn, tmp_path: Path) -> None:
    publish(hub, (0, 1000))
    content, name = content_of(1000)
    partial = leave_partial(tmp_path / "cache", name, content[:5000])
    hub.repos[REPO].commit(files_of(77), branch="step1000")
    hub.repos[REPO].commit(files_of(77), branch="main")
    series = dynamics.open_series(f"hub:{REPO}", steps="1000")
    opened = open_checkpoint(series, series.checkpoints[0])
    assert torch.equal(opened.weights.tensors["embed.W_E"], tiny_model(77).embed.W_E)
    assert not hub.ranges
    assert not partial.exists()  # nothing listed has this content any more


def test_equal_files_of_all_commits_are_asked_for_once(hub: StandIn) -> None:
    publish(hub, (0, 1000, 2000))
    series = dynamics.open_series(f"hub:{REPO}")
    for checkpoint in series.checkpoints:
        files = series.fetch(checkpoint)
        assert files.tokenizer is not None
        assert files.tokenizer.read_bytes() == files_of(0)["tokenizer.json"]
    assert len(hub.requests("GET", "tokenizer.json")) == len(hub.requests("GET", "config.json")) == 1
    assert not hub.requests("HEAD")


@pytest.mark.slow
def test_a_download_that_was_killed_is_completed_and_leaves_no_orphan(hub: StandIn, tmp_path: Path) -> None:
    publish(hub, (0, 1000))
    size = len(files_of(0)[FILE])
    hub.bytes_per_second = size / 20
    code = f"import dynamics; s = dynamics.open_series('hub:{REPO}'); s.fetch(s.checkpoints[0])"
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    left = 0
    while left < size / 10 and time.monotonic() < deadline:
        time.sleep(0.02)
        left = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.incomplete"))
    process.kill()
    process.wait(timeout=30)
    left = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.incomplete"))
    assert size / 10 <= left < size
    hub.bytes_per_second = None
    series = dynamics.open_series(f"hub:{REPO}")
    run = dynamics.measure(series, ["sum_of_squared_weights"], out=tmp_path / "out")
    assert run.checkpoints()["status"].to_list() == ["measured", "measured"]
    assert hub.ranges == [f"bytes={left}-"]
    assert not list((tmp_path / "cache").rglob("*.incomplete"))
