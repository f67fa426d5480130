"""The live page: it follows a run that is being written, answers SQL within limits, and lets nobody else in."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest
from starlette.testclient import TestClient

from dashboards.page.app import application, serve
from dashboards.page.query import MAX_AT_ONCE, ask
from dashboards.page.snapshot import Watched, stamp
from dynamics.errors import UsageError
from dynamics.store import FILE_NAME, Store
from test_chart_stores import write_grokking_run, write_induction_run

HERE = {"base_url": "http://localhost"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    write_induction_run(runs / "copying")
    write_grokking_run(runs / "grokking")
    return runs


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(application(folder), **HERE) as opened:
        yield opened


def test_a_folder_of_runs_lists_them_and_one_run_is_gone_to(client: TestClient, folder: Path) -> None:
    listed = client.get("/").text
    assert 'href="runs/copying/"' in listed
    assert 'href="runs/grokking/"' in listed
    with TestClient(application(folder / "copying"), **HERE) as single:
        assert single.get("/", follow_redirects=False).headers["location"] == "runs/copying/"


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run in .*dynamics run"):
        application(tmp_path)


def test_a_run_is_shown_with_its_summary_and_figures(client: TestClient) -> None:
    page = client.get("/runs/copying/").text
    assert "Prefix matching rose in 3 of 8 heads" in page
    assert "connect-src &#39;self&#39;" in page or "connect-src 'self'" in page
    payload = client.get("/runs/copying/payload").json()
    sections = payload["sections"]
    assert sections["figures"].count("<figcaption>") == len(payload["payload"]["figures"])
    assert "nothing emerged" in sections["summary"]
    assert set(sections) == {"facts", "summary", "figures", "gaps", "provenance"}


def test_an_unknown_run_or_file_names_the_nearest(client: TestClient) -> None:
    answer = client.get("/runs/copyin/")
    assert answer.status_code == 404
    assert "did you mean 'copying'" in answer.json()["error"]
    assert client.get("/runs/copying/files/run.duckdb").status_code == 404
    assert client.get("/runs/copying/files/..%2F..%2Fetc").status_code == 404


def test_sql_is_answered_and_errors_are_said(client: TestClient) -> None:
    good = client.post("/runs/copying/query", json={"sql": "SELECT count(*) AS n FROM events"})
    assert good.json() == {"columns": ["n"], "rows": [[6]], "more": False}
    bad = client.post("/runs/copying/query", json={"sql": "SELECT nothing FROM nowhere"})
    assert bad.status_code == 400
    assert "nowhere" in bad.json()["error"]
    assert client.post("/runs/copying/query", json={"no": "sql"}).status_code == 400
    assert client.post("/runs/copying/query", content="sql=1").status_code == 415


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM 'https://example.org/x.parquet'",
        "COPY events TO '/tmp/stolen.csv'",
        "ATTACH '/tmp/other.duckdb'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "DELETE FROM events",
        "EXPORT DATABASE '/tmp/stolen'",
        "SELECT getenv('HOME')",
        "FROM query('COPY (SELECT 1) TO ''/tmp/stolen.csv''')",
        "PRAGMA enable_profiling; PRAGMA profiling_output='/tmp/stolen.json'; SELECT 1",
        "CALL enable_logging(storage='file', storage_config={'path': '/tmp/stolen'})",
        "SELECT 1; DROP TABLE events",
        "SELECT * FROM glob('/*')",
        "ATTACH ':memory:' AS m; CREATE TABLE m.t AS SELECT 1; COPY m.t TO '/tmp/stolen.csv'",
        "CREATE SECRET s (TYPE S3)",
        "SELECT * FROM read_blob('/proc/self/environ')",
        "SET memory_limit = '100GB'",
        "RESET ALL; SELECT * FROM read_csv('/etc/passwd')",
    ],
)
def test_sql_reaches_no_file_no_address_and_writes_nothing(folder: Path, sql: str) -> None:
    with pytest.raises(UsageError, match="the query failed"):
        ask(folder / "copying", sql)


def test_rows_time_and_length_are_limited(folder: Path) -> None:
    answer = ask(folder / "copying", "SELECT * FROM range(5000)", rows=10)
    assert (len(answer.rows), answer.more) == (10, True)
    begun = time.perf_counter()
    with pytest.raises(UsageError, match="stopped"):
        ask(folder / "copying", "SELECT count(*) FROM range(100000000000) a", seconds=0.5)
    assert time.perf_counter() - begun < 8
    endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t"
    with pytest.raises(UsageError, match="stopped"):
        ask(folder / "copying", endless, seconds=0.5)
    with pytest.raises(UsageError, match="Memory|stopped|allocate"):
        ask(folder / "copying", "SELECT repeat('x', 2000000000)", seconds=2)
    with pytest.raises(UsageError, match="20,001 characters"):
        ask(folder / "copying", "x" * 20_001)


def test_many_at_once_are_refused_at_once_and_the_next_is_answered(folder: Path) -> None:
    endless = "SELECT count(*) FROM range(100000000000)"
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, folder / "copying", endless, seconds=1) for _ in range(6)]
        said = [str(one.exception()) for one in asked]
    assert sum("other queries are being answered" in text for text in said) == 6 - MAX_AT_ONCE
    assert sum("was stopped" in text for text in said) == MAX_AT_ONCE
    assert ask(folder / "copying", "SELECT 1 AS one").rows == [[1]]


def test_a_query_that_does_not_end_arriving_is_not_read_to_its_end(client: TestClient) -> None:
    long = client.post("/runs/copying/query", json={"sql": "x" * 200_000})
    assert long.status_code == 400
    assert "more than 120,000 bytes" in long.json()["error"]


@pytest.mark.parametrize(
    "path",
    ["/runs/../files/events.csv", "/runs/copying/files/%2e%2e%2frun.duckdb", "/runs/%2e%2e/", "/runs/copying%00/"],
)
def test_no_path_leads_out_of_the_folder(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_question_from_a_strangers_page_is_not_answered(client: TestClient) -> None:
    """The browser asks first before it sends JSON to another origin, and nothing here says yes."""
    asked = client.options("/runs/copying/query", headers={
        "Origin": "http://evil.example", "Access-Control-Request-Method": "POST"})  # fmt: skip
    assert asked.status_code == 405
    assert "access-control-allow-origin" not in asked.headers


def test_a_stranger_host_name_is_refused_on_loopback(folder: Path) -> None:
    with TestClient(application(folder), base_url="http://evil.example") as stranger:
        assert stranger.get("/").status_code == 400


def test_beyond_loopback_needs_a_flag_and_then_a_token(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"0\.0\.0\.0"):
        serve(folder, host="0.0.0.0")
    with TestClient(application(folder, token="secret"), base_url="http://lab.example") as client:
        for inside in ("", "stamp", "payload", "points", "files/events.csv", "figures/in_context.png"):
            assert client.get(f"/runs/copying/{inside}").status_code == 401
        assert client.get("/").status_code == 401
        assert client.get("/?token=wrong").status_code == 401
        assert client.post("/runs/copying/query", json={"sql": "SELECT 1"}).status_code == 401
        entered = client.get("/?token=secret", follow_redirects=False)
        assert "token" not in entered.headers["location"]
        assert client.get("/").status_code == 200


WRITER = """
    import sys
    import time
    from dynamics.store import Store
    with Store(sys.argv[1]) as store:
        for step in range(60):
            store.write(measurements=[{"series": "a", "stage": "", "step": step, "metric": "loss", "version": 1,
                                       "value": 1.0 / (step + 1)}])
            time.sleep(0.04)
"""


def test_a_run_is_followed_while_another_process_writes_it(tmp_path: Path) -> None:
    Store(tmp_path).close()
    writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)])
    watched, seen = Watched(tmp_path), []
    try:
        while writer.poll() is None:
            seen.append(watched.newest().frames.measurements.height)
            time.sleep(0.05)
        assert writer.returncode == 0, "reading must never stop the process that writes"
        end = time.monotonic() + 30
        while seen[-1] < 60 and time.monotonic() < end:
            seen.append(watched.newest().frames.measurements.height)
            time.sleep(0.05)
    finally:
        writer.kill()
        watched.close()
    assert seen == sorted(seen)
    assert len(set(seen)) > 3
    assert seen[-1] == 60


def test_the_run_can_be_opened_for_writing_while_the_page_has_it(folder: Path) -> None:
    watched = Watched(folder / "copying")
    watched.newest()
    with duckdb.connect(str(folder / "copying" / FILE_NAME)) as writer:
        assert writer.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    assert stamp(folder / "copying")
    watched.close()
