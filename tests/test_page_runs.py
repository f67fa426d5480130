"""The runs that the live page lists: broken, empty, replaced, gone, late, with any name a folder can have."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dashboards.page import snapshot
from dashboards.page.app import application, serve
from dynamics.errors import StoreError, UsageError
from dynamics.store import FILE_NAME, Store
from test_chart_stores import write_induction_run
from test_page_following import write_steps

HERE: dict[str, Any] = {"base_url": "http://localhost"}
BROWSER = {"accept": "text/html,*/*"}
NAMES = ["<script>alert(1)<script>'\"", "50% of #2?&x=1", "ру́н", "-rf *", "a\\b", "\u202egnp.exe"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good run, one of no bytes, one of other bytes, one cut short, one without anything measured."""
    runs = tmp_path_factory.mktemp("runs")
    write_induction_run(runs / "good")
    for name, content in (("nothing", b""), ("broken", b"no database" * 1000),
                          ("cut", (runs / "good" / FILE_NAME).read_bytes()[:20_000])):  # fmt: skip
        (runs / name).mkdir()
        (runs / name / FILE_NAME).write_bytes(content)
    Store(runs / "empty").close()
    (runs / "no run").mkdir()
    return runs


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(application(folder), **HERE) as opened:
        yield opened


def test_every_run_is_listed_with_when_it_was_written(client: TestClient) -> None:
    page = client.get("/").text
    assert [name for name in ("good", "nothing", "broken", "cut", "empty") if f'href="runs/{name}/"' not in page] == []
    assert "no run" not in page
    assert "second" in page


@pytest.mark.parametrize("name", ["broken", "cut"])
def test_a_run_that_cannot_be_read_says_so_above_the_list(client: TestClient, folder: Path, name: str) -> None:
    answer = client.get(f"/runs/{name}/", headers=BROWSER)
    assert answer.status_code == 404
    assert f"cannot read the store in {folder / name}" in answer.text
    assert 'href="../../runs/good/"' in answer.text
    assert client.get(f"/runs/{name}/stamp").json()["error"].startswith("cannot read the store")
    assert client.get("/runs/good/").status_code == 200, "one bad run takes no other with it"


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_a_run_without_a_number_is_a_page_that_waits(client: TestClient, name: str) -> None:
    answer = client.get(f"/runs/{name}/", headers=BROWSER)
    assert answer.status_code == 200 or "cannot read the store" in answer.text
    if name == "empty":
        assert "No chart fits" in answer.text


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_folder_is_text_and_leads_to_its_run(tmp_path: Path, name: str) -> None:
    for run in ("run", "other"):
        write_steps(tmp_path / run, 0, 3, risen=True)
    (tmp_path / "run").rename(tmp_path / name)  # DuckDB itself cannot write where a path has ? or a backslash
    with TestClient(application(tmp_path), **HERE) as client:
        page = client.get("/").text
        assert "<script>alert" not in page
        address = next(part.split('"')[0] for part in page.split('href="')[1:] if "other" not in part.split('"')[0])
        assert client.get(f"/{address}stamp").json()["state"] == "live"
        taken = client.get(f"/{address}files/curves.csv").headers["content-disposition"]
        assert taken.isascii()
        assert ".exe" not in taken
    with TestClient(application(tmp_path / name), **HERE) as alone:
        assert alone.get("/").status_code == 200, "one run is gone to at once, whatever its name"


def test_a_run_that_begins_later_is_listed(tmp_path: Path) -> None:
    write_steps(tmp_path / "first", 0, 3, risen=True)
    with TestClient(application(tmp_path), **HERE) as client:
        client.get("/")
        write_steps(tmp_path / "second", 0, 3, risen=True)
        assert "runs/second/" in client.get("/").text
        assert client.get("/runs/second/stamp").json()["state"] == "live"


def test_two_links_to_folders_of_one_name_are_two_runs(tmp_path: Path) -> None:
    for number, place in enumerate(("x", "y")):
        write_steps(tmp_path / place / "run", 0, 3 + number, risen=True)
        (tmp_path / "runs").mkdir(exist_ok=True)
        (tmp_path / "runs" / place).symlink_to(tmp_path / place / "run")
    with TestClient(application(tmp_path / "runs"), **HERE) as client:
        heights = [client.get(f"/runs/{place}/files/measurements.csv").text.count("\n") for place in ("x", "y")]
    assert heights == [4, 5]


def test_a_run_whose_folder_goes_stays_as_it_was_last_read_and_says_so(tmp_path: Path) -> None:
    write_steps(tmp_path / "run", 0, 3, risen=True)
    with TestClient(application(tmp_path / "run"), **HERE) as client:
        client.get("/runs/run/")
        shutil.rmtree(tmp_path / "run")
        assert "its file is gone" in client.get("/runs/run/stamp").json()["state"]
        assert client.get("/runs/run/").status_code == 200
        assert client.get("/runs/run/files/measurements.csv").text.count("\n") == 4


def test_a_run_whose_file_is_replaced_is_shown_anew(tmp_path: Path) -> None:
    write_steps(tmp_path / "run", 0, 9, risen=True)
    write_steps(tmp_path / "next", 0, 2, risen=True)
    watched = snapshot.Watched(tmp_path / "run")
    assert watched.newest().frames.measurements.height == 9
    shutil.move(tmp_path / "next" / FILE_NAME, tmp_path / "run" / FILE_NAME)
    time.sleep(snapshot.LEAST_REST)
    end = time.monotonic() + 10
    while watched.newest().frames.measurements.height != 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert watched.newest().frames.measurements.height == 2
    watched.close()


def test_a_run_that_is_no_longer_measured_is_not_called_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_steps(tmp_path / "run", 0, 3, risen=True)
    with TestClient(application(tmp_path / "run"), **HERE) as client:
        assert client.get("/runs/run/stamp").json()["state"] == "live"
        now = time.time()
        monkeypatch.setattr("dashboards.page.runs.time.time", lambda: now + 300)
        assert client.get("/runs/run/stamp").json()["state"] == "nothing new for 5 minutes"


def test_a_run_that_cannot_be_drawn_says_why_and_its_numbers_can_be_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of <nothing>")

    monkeypatch.setattr("dashboards.page.runs.compose", fail)
    with TestClient(application(folder), **HERE) as client:
        answer = client.get("/runs/good/", headers=BROWSER)
        assert answer.status_code == 404
        assert "cannot draw the run good: ZeroDivisionError: of &lt;nothing&gt;" in answer.text
        assert client.get("/runs/good/files/curves.parquet").content[:4] == b"PAR1"


def test_a_file_that_cannot_be_read_is_not_copied_at_every_question(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[Path] = []
    copy = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", lambda source, out: (copied.append(source), copy(source, out)))
    watched = snapshot.Watched(folder / "broken")
    for _ in range(20):
        with pytest.raises(StoreError, match="cannot read the store in .*broken: cannot open"):
            watched.newest()
    watched.close()
    assert len(copied) == 1


def test_a_copy_stays_as_long_as_somebody_reads_it(tmp_path: Path) -> None:
    write_steps(tmp_path, 0, 3, risen=True)
    watched = snapshot.Watched(tmp_path)
    with watched.held() as held:
        write_steps(tmp_path, 3, 4, risen=True)
        end = time.monotonic() + 10
        while watched.newest() is held and time.monotonic() < end:
            time.sleep(0.05)
        assert watched.newest() is not held
        assert (held.folder / FILE_NAME).exists()
    assert not held.folder.exists()
    watched.close()


def test_a_port_that_is_taken_is_said_before_anybody_is_told_an_address(tmp_path: Path) -> None:
    import socket

    write_steps(tmp_path, 0, 3, risen=True)
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=rf"cannot answer at 127\.0\.0\.1, port {port}: .*--port"):
            serve(tmp_path, port, announce=told.append)
    assert told == []
