"""SQL that a reader of the page may ask: reading only, of this run only, for a limited time and number of rows.

The database seals itself against files, addresses and settings; a single call such as `repeat('x', 2000000000)`
can still not be interrupted from outside, so each query is a process of its own that can be ended.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from dynamics.errors import UsageError
from dynamics.store import FILE_NAME

MAX_ROWS = 1000
MAX_SECONDS = 5.0
MAX_LENGTH = 20_000  # characters of a query
MAX_CELL = 2000  # characters of a text in the answer
MAX_BYTES = 2 * 1024**3  # address space of a query's process
MAX_AT_ONCE = 2  # queries of all readers together: the machine is measuring
NICE = 10  # measuring goes first
_SLOTS = threading.BoundedSemaphore(MAX_AT_ONCE)
STARTING = 5.0  # seconds that the process may take to begin, on a busy machine
# No file, no address, no extension, no way to change these settings back; and not all of the machine.
SEALED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_persistent_secrets": "false",
    "max_temp_directory_size": "0KB",  # nothing is spilt to the disk
    "memory_limit": "512MB",
    "threads": "1",
    "lock_configuration": "true",
}


@dataclass(frozen=True)
class Answer:
    """The first rows of a query's answer, and whether there are more."""

    columns: list[str]
    rows: list[list[Any]]
    more: bool


def ask(folder: Path, sql: str, *, rows: int = MAX_ROWS, seconds: float = MAX_SECONDS) -> Answer:
    """Run SQL on the copy of a store in `folder`.

    Raises UsageError where the SQL is wrong, writes, reaches beyond the store, takes longer than `seconds`, or where
    `MAX_AT_ONCE` others are being answered: none waits, or those who wait would keep the page's own answers waiting.
    """
    if len(sql) > MAX_LENGTH:
        msg = f"the query has {len(sql):,} characters, at most {MAX_LENGTH:,} are read; shorten it"
        raise UsageError(msg)
    if not _SLOTS.acquire(blocking=False):
        msg = f"{MAX_AT_ONCE} other queries are being answered; ask again in a few seconds"
        raise UsageError(msg)
    try:
        return _answer(folder, sql, rows, seconds)
    finally:
        _SLOTS.release()


def _answer(folder: Path, sql: str, rows: int, seconds: float) -> Answer:
    order = json.dumps({"file": str(folder / FILE_NAME), "sql": sql, "rows": rows, "seconds": seconds})
    command = [sys.executable, "-m", "dashboards.page.query"]
    root = Path(__file__).parents[2]
    try:
        done = subprocess.run(
            command, input=order, capture_output=True, text=True, timeout=seconds + STARTING, cwd=root, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _too_long(seconds) from error
    if done.returncode != 0:  # ended by its own limits
        raise _too_long(seconds)
    answer = json.loads(done.stdout)
    if answer.get("slow"):
        raise _too_long(seconds)
    if "error" in answer:
        msg = f"the query failed: {answer['error']}"
        raise UsageError(msg)
    return Answer(answer["columns"], answer["rows"], answer["more"])


def _too_long(seconds: float) -> UsageError:
    return UsageError(
        f"the query was stopped: it needs more than {seconds:g} seconds or too much memory; ask for less, "
        "or use 'dynamics query' in a terminal"
    )


def _work(order: dict[str, Any]) -> dict[str, Any]:
    """What the process does: open the sealed database, run the query, keep the first rows."""
    limit = int(order["seconds"]) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit + int(STARTING), limit + int(STARTING)))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # whatever the database would let through: no file grows
    os.nice(NICE)
    with duckdb.connect(order["file"], read_only=True, config=SEALED) as connection:
        timer = threading.Timer(order["seconds"], connection.interrupt)
        timer.daemon = True
        timer.start()
        try:
            connection.execute(order["sql"])
            if connection.description is None:
                return {"error": "there is no query; write a SELECT"}
            columns = [column[0] for column in connection.description]
            found = connection.fetchmany(order["rows"] + 1)
        except duckdb.InterruptException:
            return {"error": "", "slow": True}
        except (duckdb.Error, MemoryError) as error:
            return {"error": str(error)[:MAX_CELL]}
    timer.cancel()
    rows = [[_cell(value) for value in row] for row in found[: order["rows"]]]
    return {"columns": columns, "rows": rows, "more": len(found) > order["rows"]}


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)[:MAX_CELL]


if __name__ == "__main__":
    json.dump(_work(json.load(sys.stdin)), sys.stdout)
