"""Through a hub that others wrote: the mirror `olah`, with the stand-in behind it.

It wants older libraries than ours, so it is run as a command: install it where you like (`pip install olah` in an
environment of its own) and have `olah-cli` on the path, or name it in OLAH.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import dynamics
from conftest import tiny_model
from hub_series import REPO, files_of, reasons, steps_of
from hub_stand_in import StandIn
from test_hub_resume import content_of, fetched, leave_partial

pytestmark = pytest.mark.slow


@pytest.fixture
def mirror(hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The stand-in, reached through olah alone."""
    command = os.environ.get("OLAH") or shutil.which("olah-cli")
    if not command:
        pytest.skip("olah-cli is not on the path, and OLAH does not name it; pip install olah in its own environment")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = f"127.0.0.1:{port}"
    behind = hub.url.removeprefix("http://")
    process = subprocess.Popen(
        [command, "--host", "127.0.0.1", "--port", str(port), "--hf-scheme", "http",
         "--hf-netloc", behind, "--hf-lfs-netloc", behind, "--mirror-netloc", here, "--mirror-lfs-netloc", here,
         "--repos-path", str(tmp_path / "repos"), "--log-path", str(tmp_path / "logs")],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            break
        except OSError:
            time.sleep(0.1)
    monkeypatch.setenv("HF_ENDPOINT", f"http://{here}")
    yield hub
    process.kill()  # it would wait for connections that are kept open
    process.wait(timeout=30)


def test_a_series_is_listed_audited_and_measured(mirror: StandIn, tmp_path: Path) -> None:
    repo = mirror.repo(REPO)
    for step in (0, 1000, 2000, 3000):
        repo.commit(files_of(1000 if step == 2000 else step), branch=f"step{step}")
    repo.commit(files_of(3000), branch="main")
    series = dynamics.open_series(f"hub:{REPO}")
    assert steps_of(series) == [0, 3000]
    assert reasons(series)[2000] == "the same weights as step 1000"
    run = dynamics.measure(series, ["sum_of_squared_weights"], out=tmp_path / "out")
    for row in run.measurements().iter_rows(named=True):
        exact = sum(float(p.detach().double().pow(2).sum()) for p in tiny_model(row["step"]).parameters())
        assert row["value"] == pytest.approx(exact, rel=1e-5)
    assert run.measurements()["step"].to_list() == [0, 3000]


def test_a_killed_download_goes_on(mirror: StandIn, tmp_path: Path) -> None:
    repo = mirror.repo(REPO)
    for step in (0, 1000):
        repo.commit(files_of(step), branch=f"step{step}")
    repo.commit(files_of(1000), branch="main")
    content, name = content_of(1000)
    leave_partial(tmp_path / "cache", name, content[:5000])
    assert fetched(1000)
    assert not list((tmp_path / "cache").rglob("*.incomplete"))


def test_what_is_not_there_is_said(mirror: StandIn) -> None:
    assert mirror.url
    with pytest.raises(dynamics.sources.UsageError, match="not at"):
        dynamics.open_series("hub:acme/absent")
