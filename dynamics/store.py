"""The store of a run: one DuckDB file, whose tables and columns are public.

A measurement's key holds the hash of the weights, the hash of the inputs and the version of the definition, so a
number can never be served for other weights, other inputs or another metric. A NULL value is a stated gap: the
checkpoint's note says why.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import duckdb
import polars as pl

from dynamics.errors import StoreError, UsageError

FILE_NAME = "run.duckdb"

_TEXT, _INT, _REAL, _TIME = pl.String, pl.Int64, pl.Float64, pl.Datetime("us")
_TEXTS = pl.List(pl.String)

SCHEMA: dict[str, dict[str, Any]] = {
    "series": {
        "series": _TEXT, "source": _TEXT, "family": _TEXT, "seed": _INT, "n_layers": _INT, "n_heads": _INT,
        "d_model": _INT, "d_vocab": _INT, "n_ctx": _INT, "n_params": _INT,
    },
    "checkpoints": {
        "series": _TEXT, "stage": _TEXT, "step": _INT, "tokens_seen": _INT, "revision": _TEXT, "weights_sha": _TEXT,
        "dtype": _TEXT, "bytes": _INT, "status": _TEXT, "note": _TEXT,
    },
    "listings": {"series": _TEXT, "notes": _TEXTS, "ignored": _TEXTS},
    "metrics": {
        "metric": _TEXT, "version": _INT, "unit": _TEXT, "lower": _REAL, "upper": _REAL, "axes": _TEXT,
        "title": _TEXT, "source": _TEXT, "question": _TEXT,
    },
    "tasks": {"task": _TEXT, "task_hash": _TEXT, "seed": _INT, "n_examples": _INT, "settings": _TEXT},
    "measurements": {
        "series": _TEXT, "stage": _TEXT, "step": _INT, "metric": _TEXT, "layer": _INT, "head": _INT, "index": _INT,
        "label": _TEXT, "value": _REAL, "stderr": _REAL, "n": _INT, "weights_sha": _TEXT, "task_hash": _TEXT,
        "version": _INT, "run_id": _TEXT,
    },
    "events": {
        "series": _TEXT, "metric": _TEXT, "layer": _INT, "head": _INT, "index": _INT, "label": _TEXT, "kind": _TEXT,
        "direction": _TEXT, "onset": _REAL, "midpoint": _REAL, "completion": _REAL, "lower": _REAL, "upper": _REAL,
        "before": _REAL, "after": _REAL, "magnitude": _REAL, "sharpness": _REAL, "p_value": _REAL,
        "q_value": _REAL, "note": _TEXT,
    },
    "plans": {
        "run_id": _TEXT, "series": _TEXT, "metric": _TEXT, "task_hash": _TEXT, "version": _INT, "stage": _TEXT,
        "step": _INT, "refers_to": _TEXTS,
    },
    "runs": {
        "run_id": _TEXT, "started": _TIME, "finished": _TIME, "recipe": _TEXT, "versions": _TEXT, "device": _TEXT,
        "dtype": _TEXT, "host": _TEXT,
    },
}  # fmt: skip

# What names a row of each table: writing a row again replaces the one with the same key.
KEYS: dict[str, tuple[str, ...]] = {
    "series": ("series",),
    "checkpoints": ("series", "stage", "step"),
    "listings": ("series",),
    "metrics": ("metric", "version"),
    "tasks": ("task_hash",),
    "measurements": ("series", "stage", "step", "metric", "weights_sha", "task_hash", "version"),
    "plans": ("run_id", "series", "metric", "stage", "step"),
    "runs": ("run_id",),
}

# The store keeps numbers of other inputs, definitions and weights than the present ones. This view holds for each
# metric those that the latest run asking for it asked for, at the weights that the checkpoints have now. Imported
# numbers have no weights: they belong to their step whatever weights it has.
#
# A metric that reads the checkpoint before has other inputs at every step. Its plan has a row for the whole curve,
# whose hash every step's own hash begins with, and one for each step that was looked at; the latest run that looked at
# a step decides there, as long as the checkpoints before it have the weights that were read.
CURVES = """
CREATE OR REPLACE VIEW curves AS
WITH asked AS (
    SELECT plans.*, started FROM plans JOIN runs USING (run_id)
), latest AS (
    SELECT series, metric, task_hash, version FROM asked WHERE step IS NULL
    QUALIFY row_number() OVER (PARTITION BY series, metric ORDER BY started DESC) = 1
), here AS (
    SELECT series, metric, version, stage, step, task_hash, refers_to FROM asked WHERE step IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY series, metric, stage, step ORDER BY started DESC) = 1
), present AS (
    SELECT series, weights_sha AS sha FROM checkpoints WHERE status <> 'skipped'
), gone AS (
    SELECT DISTINCT series, metric, stage, step
    FROM (SELECT series, metric, stage, step, unnest(refers_to) AS sha FROM here) ANTI JOIN present USING (series, sha)
)
SELECT m.*, c.tokens_seen
FROM measurements m
JOIN latest USING (series, metric, version)
JOIN checkpoints c USING (series, stage, step)
LEFT JOIN here USING (series, metric, version, stage, step)
LEFT JOIN gone USING (series, metric, stage, step)
WHERE (m.weights_sha = c.weights_sha OR m.weights_sha = '') AND c.status <> 'skipped'
AND CASE
    WHEN here.task_hash IS NULL THEN m.task_hash = latest.task_hash
    ELSE m.task_hash = here.task_hash AND starts_with(here.task_hash, latest.task_hash) AND gone.series IS NULL
END
"""

EXPORTS = {"csv": "FORMAT csv, HEADER", "parquet": "FORMAT parquet, COMPRESSION zstd"}
_SQL_TYPES = {_TEXT: "VARCHAR", _INT: "BIGINT", _REAL: "DOUBLE", _TIME: "TIMESTAMP", _TEXTS: "VARCHAR[]"}


class Store:
    """A run's database. Open it for writing in one process, or for reading in any number of them."""

    def __init__(self, folder: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(folder) / FILE_NAME
        if read_only and not self.path.exists():
            msg = f"no run at {Path(folder)}: {FILE_NAME} is not there; 'dynamics run' or 'dynamics measure' makes one"
            raise UsageError(msg)
        if not read_only and set("?\\") & set(self.path.as_posix()):
            msg = f"no run can be kept in {folder}: DuckDB writes no path with ? or \\ in it; name another folder"
            raise UsageError(msg)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = duckdb.connect(str(self.path), read_only=read_only)
            self._db.execute("SET enable_progress_bar = false")  # it would stand between the rows of a CSV in a pipe
        except duckdb.Error as error:
            msg = f"cannot open {self.path}: {error}. {_remedy(error)}"
            raise StoreError(msg) from error
        if not read_only:
            for table, columns in SCHEMA.items():
                fields = ", ".join(f'"{name}" {_SQL_TYPES[kind]}' for name, kind in columns.items())
                self._db.execute(f"CREATE TABLE IF NOT EXISTS {table} ({fields})")
            self._make_view()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make_view(self) -> None:
        try:
            self._db.execute(CURVES)
        except duckdb.BinderException as error:
            self._db.close()
            msg = f"{self.path} was written by a version with other tables ({error}); measure into another folder"
            raise StoreError(msg) from error

    def close(self) -> None:
        """Write everything to the file and let other processes open it."""
        self._db.close()

    def write(self, **tables: pl.DataFrame | Iterable[Mapping[str, Any]]) -> None:
        """Write rows into the named tables in one transaction: all of them or, after any error, none.

        Rows with the key of a stored row (see `KEYS`) replace it. Columns that are left out are NULL.
        """
        frames = {table: _conform(table, rows) for table, rows in tables.items()}
        with _uninterrupted():
            self._db.execute("BEGIN")
            try:
                for table, frame in frames.items():
                    self._replace(table, frame)
                self._db.execute("COMMIT")
            except BaseException as error:
                with suppress(duckdb.Error):  # nothing was begun, or the database has closed itself
                    self._db.execute("ROLLBACK")
                if not isinstance(error, duckdb.Error):
                    raise
                msg = f"cannot write to {self.path}: {error}. What was stored before stays. {_remedy(error)}"
                raise StoreError(msg) from error

    def write_events(self, events: pl.DataFrame) -> None:
        """Replace all events of the run: they are derived from the measurements as a whole."""
        known = [_column(events, name, kind) for name, kind in SCHEMA["events"].items()]
        frame = events.select(*known, pl.exclude(*SCHEMA["events"]))
        self._db.register("_new_events", frame)
        self._db.execute("CREATE OR REPLACE TABLE events AS SELECT * FROM _new_events")
        self._db.unregister("_new_events")

    def _replace(self, table: str, frame: pl.DataFrame) -> None:
        if frame.is_empty():
            return
        if table != "measurements":  # there the key names all rows of one metric at one checkpoint
            frame = frame.unique(KEYS[table], keep="last", maintain_order=True)
        self._db.register("_rows", frame)
        # Anti-join on the key: deleting by key keeps the write idempotent without a primary-key index, which
        # would cost ten times the space and five times the time.
        key = " AND ".join(f'{table}."{name}" IS NOT DISTINCT FROM k."{name}"' for name in KEYS[table])
        names = ", ".join(f'"{name}"' for name in KEYS[table])
        self._db.execute(f"DELETE FROM {table} USING (SELECT DISTINCT {names} FROM _rows) k WHERE {key}")
        self._db.execute(f"INSERT INTO {table} SELECT * FROM _rows")
        self._db.unregister("_rows")

    def read(self, table: str) -> pl.DataFrame:
        """One table of the store as a frame, in step order where it has steps.

        `curves` are the measurements that belong together: see `CURVES`.
        """
        return self.query(_ordered(table))

    def export(self, table: str, path: str | Path) -> None:
        """Write one table as it is stored, in the order of `read`, to a .csv or .parquet file.

        DuckDB writes it: however long it is, its rows never come into this process's memory at once.
        """
        kind = Path(path).suffix.removeprefix(".")
        if kind not in EXPORTS:
            msg = f"cannot write {table} to {path}: expected a file named {' or '.join(f'*.{one}' for one in EXPORTS)}"
            raise UsageError(msg)
        place = str(path).replace("'", "''")
        self.query(f"COPY ({_ordered(table)}) TO '{place}' ({EXPORTS[kind]})")

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> pl.DataFrame:
        """The answer to any SQL as a Polars frame."""
        try:
            answer = self._db.sql(sql, params=list(parameters) or None)
            if answer is None:  # a statement without rows, such as CREATE VIEW
                return pl.DataFrame()
            frame = pl.from_arrow(answer.to_arrow_table())
        except duckdb.Error as error:
            msg = f"the query failed: {error}"
            raise UsageError(msg) from error
        assert isinstance(frame, pl.DataFrame)
        return frame


def _ordered(table: str) -> str:
    """The query for all of a table, in step order where it has steps. Raises UsageError where there is none."""
    columns = SCHEMA["measurements"] if table == "curves" else SCHEMA.get(table)
    if columns is None:
        msg = f"no table {table!r} in the store; it has curves, {', '.join(SCHEMA)}"
        raise UsageError(msg)
    order = [name for name in ("series", "metric", "layer", "head", "index", "label", "stage", "step")
             if name in columns]  # fmt: skip
    clause = " ORDER BY " + ", ".join(f'"{name}"' for name in order) if order else ""
    return f"SELECT * FROM {table}{clause}"


def _remedy(error: duckdb.Error) -> str:
    """What a person can do about it."""
    said = str(error)
    if "lock" in said:
        return "A run that is being written admits no second process: wait for its end, or see it in 'dynamics serve'"
    if "No space left" in said or "Read-only" in said or "Permission denied" in said:
        return "Free some space, or name with --out a folder that can be written to, and run again"
    return "If the file is damaged, restore it, or measure into another folder"


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until a transaction is over; inside the database it would come out as another error."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received and callable(before):
        before(*received[0])


def _conform(table: str, rows: pl.DataFrame | Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    columns = SCHEMA[table]
    frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(list(rows), infer_schema_length=None)
    if frame.is_empty():  # constants would make a row of it
        return pl.DataFrame(schema=columns)
    unexpected = set(frame.columns) - set(columns)
    if unexpected:
        msg = f"table {table} has no columns {sorted(unexpected)}; it has {', '.join(columns)}"
        raise StoreError(msg)
    return finite(frame.select([_column(frame, name, kind) for name, kind in columns.items()]))


def finite(frame: pl.DataFrame) -> pl.DataFrame:
    """NaN and infinity as gaps: SQL orders and averages them as if they were numbers, and JSON knows none."""
    reals = [name for name, kind in frame.schema.items() if kind == _REAL]
    return frame.with_columns([pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in reals])


def _column(frame: pl.DataFrame, name: str, kind: Any) -> pl.Expr:
    source = pl.col(name) if name in frame.columns else pl.lit(None)
    return source.cast(kind).alias(name)


def to_json(value: object) -> str:
    """JSON with sorted keys, so that equal settings give equal text."""
    return json.dumps(value, sort_keys=True, default=str)
