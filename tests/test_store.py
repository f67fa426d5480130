"""The store: transactions, keys, gaps, and what a reader sees."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from dynamics.errors import StoreError, UsageError
from dynamics.store import SCHEMA, Store

ROW = {
    "series": "s", "stage": "", "step": 1, "metric": "m", "value": 1.0, "weights_sha": "w", "task_hash": "t",
    "version": 1, "run_id": "r",
}  # fmt: skip


def plan(run_id: str, task_hash: str, day: int) -> dict[str, list[dict[str, object]]]:
    return {
        "runs": [{"run_id": run_id, "started": datetime(2026, 1, day)}],
        "plans": [{"run_id": run_id, "series": "s", "metric": "m", "task_hash": task_hash, "version": 1}],
    }


def checkpoint(sha: str) -> list[dict[str, object]]:
    return [{"series": "s", "stage": "", "step": 1, "weights_sha": sha, "status": "measured"}]


def test_columns_are_those_of_the_contract(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for table, columns in SCHEMA.items():
            assert store.query(f"SELECT * FROM {table}").columns == list(columns)


def test_writing_a_row_again_replaces_it(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.write(measurements=[ROW, ROW | {"head": 1, "value": 5.0}])
        store.write(measurements=[ROW | {"value": 2.0}])
        assert store.read("measurements")["value"].to_list() == [2.0]


def test_a_row_that_is_given_twice_is_stored_once(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.write(tasks=[{"task": "text", "task_hash": "h", "seed": seed} for seed in (1, 2)])
        assert store.read("tasks")["seed"].to_list() == [2]


def test_other_weights_inputs_or_definitions_are_other_rows(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for change in ({}, {"weights_sha": "other"}, {"task_hash": "other"}, {"version": 2}):
            store.write(measurements=[ROW | change])
        assert len(store.read("measurements")) == 4


def test_nan_and_infinity_are_stored_as_gaps(tmp_path: Path) -> None:
    rows = [ROW | {"step": step, "value": value} for step, value in enumerate([float("nan"), float("inf"), 1.0])]
    with Store(tmp_path) as store:
        store.write(measurements=rows)
        assert store.read("measurements")["value"].to_list() == [None, None, 1.0]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.write(measurements=[ROW])
        with pytest.raises(StoreError, match="no columns .'nonsense'"):
            store.write(checkpoints=checkpoint("w"), measurements=[ROW | {"nonsense": 1}])
        assert store.read("checkpoints").is_empty()
        assert len(store.read("measurements")) == 1


def test_an_interrupt_waits_for_the_end_of_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Store._replace

    def interrupted(store: Store, table: str, frame: pl.DataFrame) -> None:
        signal.raise_signal(signal.SIGINT)
        replace(store, table, frame)

    monkeypatch.setattr(Store, "_replace", interrupted)
    with Store(tmp_path) as store:
        with pytest.raises(KeyboardInterrupt):
            store.write(measurements=[ROW])
        assert len(store.read("measurements")) == 1


def test_curves_hold_what_the_latest_run_asked_for(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.write(measurements=[ROW, ROW | {"task_hash": "u", "value": 7.0}], checkpoints=checkpoint("w"))
        store.write(**plan("first", "t", 1))
        assert store.read("curves")["value"].to_list() == [1.0]
        store.write(**plan("second", "u", 2))
        assert store.read("curves")["value"].to_list() == [7.0]
        store.write(**plan("third", "t", 3))
        assert store.read("curves")["value"].to_list() == [1.0]


def test_curves_leave_out_numbers_of_weights_that_a_step_no_longer_has(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.write(measurements=[ROW], checkpoints=checkpoint("w"), **plan("r", "t", 1))
        store.write(measurements=[ROW | {"weights_sha": "new", "value": 3.0}], checkpoints=checkpoint("new"))
        assert store.read("curves")["value"].to_list() == [3.0]


def looked(run_id: str, task_hash: str, day: int, refers_to: list[str], version: int = 1) -> dict[str, Any]:
    """A run that asked for a metric of the checkpoint before, and looked at step 1."""
    asked = plan(run_id, "+", day)
    whole = asked["plans"][0] | {"version": version}
    here = whole | {"task_hash": task_hash, "stage": "", "step": 1, "refers_to": refers_to}
    return asked | {"plans": [whole, here]}


def test_a_metric_of_the_checkpoint_before_has_a_plan_for_each_step(tmp_path: Path) -> None:
    before = checkpoint("v")[0] | {"step": 0}
    rows = [ROW | {"task_hash": "+v@0"}, ROW | {"task_hash": "+u@0", "value": 7.0}]
    with Store(tmp_path) as store:
        store.write(measurements=rows, checkpoints=[before, *checkpoint("w")], **looked("first", "+v@0", 1, ["v"]))
        assert store.read("curves")["value"].to_list() == [1.0]
        # A later run that asks for the same curve and looks at other steps leaves this one as it is.
        store.write(**plan("second", "+", 2))
        assert store.read("curves")["value"].to_list() == [1.0]
        # The checkpoint before has other weights now, and nobody has looked at the step since.
        store.write(checkpoints=[before | {"weights_sha": "u"}])
        assert store.read("curves").is_empty()
        store.write(**looked("third", "+u@0", 3, ["u"]))
        assert store.read("curves")["value"].to_list() == [7.0]


def test_a_step_under_another_definition_or_other_inputs_is_no_part_of_the_curve(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.write(measurements=[ROW | {"task_hash": "+v@0"}], checkpoints=checkpoint("w"))
        store.write(**looked("first", "+v@0", 1, []))
        assert len(store.read("curves")) == 1
        store.write(**plan("second", "other+", 2))
        assert store.read("curves").is_empty()
        newer = plan("third", "+", 3)
        store.write(**newer | {"plans": [newer["plans"][0] | {"version": 2}]})
        assert store.read("curves").is_empty()


@pytest.mark.parametrize("table", [*SCHEMA, "curves"])
def test_every_table_can_be_exported_as_it_is_read(tmp_path: Path, table: str) -> None:
    folder = tmp_path / "it's a run"
    with Store(folder) as store:
        listing = {"series": "s", "notes": ["one, two"], "ignored": []}
        store.write(measurements=[ROW, ROW | {"step": 0, "value": None}], checkpoints=checkpoint("w"),
                    listings=[listing], **plan("r", "t", 1))  # fmt: skip
        store.export(table, folder / "table.parquet")
        store.export(table, folder / "table.csv")
        stored = store.read(table)
    assert pl.read_parquet(folder / "table.parquet").equals(stored)
    assert pl.read_csv(folder / "table.csv").columns == stored.columns
    assert pl.read_csv(folder / "table.csv").height == stored.height


def test_a_table_is_exported_only_to_a_format_that_is_known(tmp_path: Path) -> None:
    with Store(tmp_path) as store, pytest.raises(UsageError, match=r"\*\.csv or \*\.parquet"):
        store.export("events", tmp_path / "events.xlsx")


def test_a_second_process_may_not_write_while_one_does(tmp_path: Path) -> None:
    Store(tmp_path).close()
    (tmp_path / "run.duckdb").write_bytes(b"not a database")
    with pytest.raises(StoreError, match="cannot open .*run.duckdb"):
        Store(tmp_path)


def test_reading_what_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run at .*'dynamics run' or 'dynamics measure' makes one"):
        Store(tmp_path, read_only=True)
    with Store(tmp_path) as store:
        with pytest.raises(UsageError, match="no table 'event' in the store; it has curves, series"):
            store.read("event")
        with pytest.raises(UsageError, match="the query failed.*nowhere"):
            store.query("SELECT * FROM nowhere")


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with Store(tmp_path, read_only=True) as store, pytest.raises(UsageError, match="read-only"):
        store.query("DELETE FROM measurements")


def test_extra_columns_of_events_are_kept(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.write_events(pl.DataFrame({"series": ["s"], "metric": ["m"], "scale": ["log"]}))
        assert store.read("events").select("series", "scale").rows() == [("s", "log")]
        store.write_events(pl.DataFrame(schema={"series": pl.String}))
        assert store.read("events").is_empty()



def test_the_page_about_the_store_names_every_table_and_column() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "store.md").read_text()
    rows = {line.split("|")[1].strip(" `"): line for line in page.splitlines() if line.startswith("| `")}
    assert set(rows) == set(SCHEMA)
    for table, columns in SCHEMA.items():
        named = rows[table].split("|")[3].replace("`", "").split()
        assert named == list(columns)


def test_a_store_with_other_tables_is_refused_in_words(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "run.duckdb")) as other:
        other.execute("CREATE TABLE plans (run_id VARCHAR, series VARCHAR, metric VARCHAR)")
    with pytest.raises(StoreError, match="written by a version with other tables"):
        Store(tmp_path)


def test_a_full_disk_is_said_in_words_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path) as store:
        store.write(runs=[{"run_id": "a"}])
        replace = Store._replace

        def full(self: Store, table: str, frame: pl.DataFrame) -> None:
            replace(self, table, frame)
            msg = "IO Error: No space left on device"
            raise duckdb.IOException(msg)

        monkeypatch.setattr(Store, "_replace", full)
        with pytest.raises(StoreError, match=r"No space left.* What was stored before stays\. Free some space"):
            store.write(runs=[{"run_id": "b"}])
        assert store.read("runs")["run_id"].to_list() == ["a"]


def test_a_second_process_is_told_why_it_has_to_wait(tmp_path: Path) -> None:
    code = f"from dynamics.store import Store; Store({str(tmp_path)!r})"
    with Store(tmp_path):
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "admits no second process: wait for its end, or see it in 'dynamics serve'" in answer.stderr


@pytest.mark.parametrize("name", ["why?", "a\\b"])
def test_a_path_that_the_database_cannot_write_is_said_in_words(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"with \? or \\ in it; name another folder"):
        Store(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_store_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "run.duckdb").write_bytes(b"something else" * 1000)
    with pytest.raises(StoreError, match="If the file is damaged, restore it"):
        Store(tmp_path)


def test_long_queries_print_nothing_between_the_rows_that_are_asked_for(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        assert store.query("SELECT current_setting('enable_progress_bar')::BOOLEAN AS shown")["shown"].item() is False
