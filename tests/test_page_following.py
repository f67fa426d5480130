"""The live page tells what it found so far: tentative, confirmed, withdrawn; in time, and without waiting for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from dashboards.document import followed_html
from dashboards.page.app import application
from dashboards.page.following import Following
from dynamics.store import Store
from test_chart_any_frames import heads
from test_chart_stores import metric_row

STEPS = np.unique(np.round(np.logspace(0, 5, 50))).astype(int)
SECONDS = 60  # for a process to start and to look, on a busy machine


def write_steps(folder: Path, first: int, last: int, *, risen: bool) -> None:
    """The checkpoints `first..last` of a made-up run with one score and a hostile name."""
    noise = np.random.default_rng(0 if risen else 1).normal(0, 0.02, len(STEPS))
    level = 1 / (1 + np.exp(-(np.log10(STEPS + 1) - 3.0) * 15)) if risen else np.zeros(len(STEPS))
    shared = {"series": "<b>model", "stage": "", "metric": "score", "version": 1, "weights_sha": "w", "task_hash": "t"}
    rows = [{**shared, "step": int(STEPS[i]), "value": float(level[i] + noise[i]), "stderr": 0.02}
            for i in range(first, last)]  # fmt: skip
    with Store(folder) as store:
        store.write(measurements=rows, metrics=[metric_row("score", title="Copying score")])


def await_status(client: TestClient, wanted: str) -> dict[str, Any]:
    """The page's answer as soon as it shows an event with this status."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        answer = client.get("/runs/run/stamp").json()
        if f"<td>{wanted}</td>" in answer["followed"]:
            return answer
        time.sleep(0.1)
    msg = f"no event was {wanted} within {SECONDS} seconds; the page shows {answer['followed']!r}"
    raise AssertionError(msg)


@pytest.fixture
def following() -> Iterator[Following]:
    made = Following()
    yield made
    made.close()


def settled(following: Following, *, started: float = SECONDS) -> None:
    end = time.monotonic() + started
    while following._work is not None:
        assert time.monotonic() < end, "the look did not end"
        time.sleep(0.05)


def test_events_are_tentative_then_confirmed_and_a_withdrawn_one_is_struck_out(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_steps(folder, 0, 37, risen=True)
    with TestClient(application(folder), base_url="http://localhost") as client:
        said = await_status(client, "tentative")["followed"]
        assert "Copying score rose" in said
        assert "&lt;b&gt;model" in said
        assert "<b>model" not in said
        write_steps(folder, 37, 45, risen=True)
        await_status(client, "confirmed")
        # Measured anew as noise: two more looks do not find it.
        with Store(folder) as store:
            store.query("DELETE FROM measurements")
        write_steps(folder, 0, 46, risen=False)
        await_status(client, "tentative")
        write_steps(folder, 46, 47, risen=False)
        said = await_status(client, "withdrawn")["followed"]
        assert "<s>Copying score rose</s>" in said
        assert "not found again" in said


def test_a_look_is_begun_at_new_checkpoints_only_and_never_waited_for(following: Following) -> None:
    begun = time.perf_counter()
    following.look(heads(64, list(range(40))))
    following.look(heads(64, list(range(41))))
    assert time.perf_counter() - begun < 2, "64 curves take seconds to look at"
    first = following._work
    assert first is not None
    settled(following)
    following.look(heads(64, list(range(40))))
    assert following._work is None, "these checkpoints have been looked at"
    following.look(heads(64, list(range(41))))
    assert following._work is not None


def test_a_look_that_fails_is_said_and_the_next_one_is_begun(following: Following) -> None:
    frames = heads(64, list(range(40)))
    following.look(frames)
    for process in following._pool._processes.values():  # pyright: ignore
        process.kill()
    settled(following)
    assert "The last look for changes failed" in followed_html(following.told(frames))
    frames = heads(1, list(range(41)))
    following.look(frames)
    settled(following)
    assert followed_html(following.told(frames)) == ""


def test_new_points_come_before_the_page_is_drawn_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    write_steps(folder, 0, 5, risen=True)
    with TestClient(application(folder), base_url="http://localhost") as client:
        client.get("/runs/run/")
        before = client.get("/runs/run/stamp").json()
        assert before["stamp"] == before["drawn"]
        assert client.get("/runs/run/points").json() == []
        slow = threading.Event()
        monkeypatch.setattr("dashboards.page.runs.compose", lambda *_: slow.wait(SECONDS))
        write_steps(folder, 5, 7, risen=True)
        after = client.get("/runs/run/stamp").json()
        assert after["stamp"] != after["drawn"] == before["drawn"]
        points = client.get("/runs/run/points").json()
        assert [point["step"] for point in points] == STEPS[5:7].tolist()
        assert points[0]["curve"] == "<b>model|score|"
        slow.set()
