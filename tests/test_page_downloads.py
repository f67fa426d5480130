"""What can be taken from the live page: every table of the store and every figure, while the run is written."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from dashboards.page.app import application
from dashboards.page.downloads import FILES, TABLES
from dynamics.store import SCHEMA, Store
from test_chart_stores import write_induction_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_induction_run(tmp_path_factory.mktemp("runs") / "copy ing")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(application(folder), base_url="http://localhost") as opened:
        yield opened


AT = "/runs/copy%20ing"


@pytest.mark.parametrize("table", [*SCHEMA, "curves"])
def test_every_table_can_be_taken_as_csv_and_parquet(client: TestClient, folder: Path, table: str) -> None:
    with Store(folder, read_only=True) as store:
        stored = store.read(table)
    parquet = client.get(f"{AT}/files/{table}.parquet")
    assert pl.read_parquet(io.BytesIO(parquet.content)).height == stored.height
    csv = client.get(f"{AT}/files/{table}.csv")
    assert csv.text.splitlines()[0] == ",".join(stored.columns)
    assert csv.headers["content-disposition"] == f'attachment; filename="copy-ing-{table}.csv"'
    assert csv.headers["x-content-type-options"] == "nosniff"


def test_the_page_links_to_every_table_and_figure(client: TestClient) -> None:
    page = client.get(f"{AT}/").text
    assert [file for file in FILES if f'href="files/{file}"' not in page] == []
    assert set(TABLES) == {*SCHEMA, "curves"}


def test_what_was_sent_leaves_no_file(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert client.get(f"{AT}/files/measurements.csv").status_code == 200
    assert client.get(f"{AT}/files/measurements.xlsx").status_code == 404
    assert list(tmp_path.iterdir()) == []


def test_a_figure_is_a_picture_or_vega_lite_with_its_data(client: TestClient) -> None:
    assert client.get(f"{AT}/figures/in_context.png").content.startswith(b"\x89PNG")
    svg = client.get(f"{AT}/figures/in_context.svg")
    assert svg.text.startswith("<svg")
    assert svg.headers["content-type"].startswith("image/svg+xml")
    assert "sandbox" in svg.headers["content-security-policy"], "no script in a picture is run"
    told = json.loads(client.get(f"{AT}/figures/in_context.json").content)
    assert told["$schema"].endswith(".json")
    assert any("loss" in row.get("curve", "") for rows in told["datasets"].values() for row in rows)


@pytest.mark.parametrize("file", ["in_context.exe", "in_contexts.png", "in_context", "..%2Frun.duckdb", ".png", "%00"])
def test_no_other_figure_is_there(client: TestClient, file: str) -> None:
    assert client.get(f"{AT}/figures/{file}").status_code == 404


WRITER = """
    import sys
    from dynamics.store import Store
    with Store(sys.argv[1]) as store:
        for step in range(2000, 2000_000):
            store.write(measurements=[{"series": "two-layer", "stage": "", "step": step, "metric": "loss",
                                       "version": 1, "value": 1.0}])
"""


def test_a_run_that_is_being_written_can_be_taken_all_the_while(tmp_path: Path) -> None:
    folder = write_induction_run(tmp_path / "run")
    writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), str(folder)])
    try:
        with TestClient(application(folder), base_url="http://localhost") as client:
            for _ in range(4):
                taken = client.get("/runs/run/files/curves.parquet")
                assert taken.content[:4] == taken.content[-4:] == b"PAR1"
                assert client.post("/runs/run/query", json={"sql": "SELECT 1"}).status_code == 200
        assert writer.poll() is None, "reading must never stop the process that writes"
    finally:
        writer.kill()
        writer.wait()
