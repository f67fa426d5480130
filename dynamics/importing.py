"""Results that others measured: long tables, evaluation harness results and training logs, as measurements of a series.

They stand in the store beside what is measured here, so that events and reports work on them. Their weights are not
known (`weights_sha` is empty), and the hash of the file takes the place of the inputs' hash.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import socket
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from dynamics.errors import UsageError
from dynamics.redaction import redact
from dynamics.store import Store, to_json

TABLES = (".csv", ".tsv", ".parquet")

# Columns by what they may be called; the first found is taken.
COLUMNS = {
    "series": ("series", "model", "run"), "step": ("step", "global_step"), "metric": ("metric",), "value": ("value",),
    "task": ("task", "dataset", "benchmark"), "stage": ("stage",), "stderr": ("stderr", "se"), "n": ("n",),
    "tokens_seen": ("tokens_seen", "tokens"), "layer": ("layer",), "head": ("head",), "index": ("index",),
    "label": ("label",),
}  # fmt: skip
ROWS = {
    "series": pl.String, "stage": pl.String, "step": pl.Int64, "metric": pl.String, "value": pl.Float64,
    "stderr": pl.Float64, "n": pl.Int64, "tokens_seen": pl.Int64, "layer": pl.Int64, "head": pl.Int64,
    "index": pl.Int64, "label": pl.String,
}  # fmt: skip
SHARES = re.compile(r"(^|_)(acc|acc_norm|accuracy|f1|em|exact_match|pct_stereotype)$")
_STDERR = "_stderr"
PLACE = ["series", "stage", "step", "metric", "layer", "head", "index", "label"]  # what one value belongs to
_STEP = re.compile(r"(?:stage\d[^\s-]*-(?:ingredient\d+-)?)?(?:global_step|step|checkpoint|ckpt|iter)[-_]?\d+\S*$")
# How benchmarks are written, by the words of their names in the harness.
WRITTEN = {
    "acc": "accuracy", "arc": "ARC", "lambada": "LAMBADA", "logiqa": "LogiQA", "mmlu": "MMLU", "openai": "(OpenAI)",
    "piqa": "PIQA", "sciq": "SciQ", "winogrande": "WinoGrande", "wsc": "WSC", "gsm8k": "GSM8K",
    "hellaswag": "HellaSwag",
}  # fmt: skip


def import_results(
    path: str | Path, store: Store, *, series: str | None = None, only: Sequence[str] = (),
    recipe: Mapping[str, Any] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Write a file's or a folder's results into a store; the rows that were written.

    `series` names the history where the file does not. `only` keeps metrics that match one of the patterns, such as
    `lambada_*_acc`; `recipe` is kept with the run.

    Raises `UsageError` for what is neither a long table, nor harness results, nor a training log.
    """
    path = Path(path).expanduser()
    if not path.exists():
        msg = f"nothing at {str(path)!r} to import; expected a table, a folder of harness results or trainer_state.json"
        raise UsageError(msg)
    frame = _with_stderr(_read(path, series))
    if only:
        wanted = [name for name in frame["metric"].unique() if any(fnmatch(name, pattern) for pattern in only)]
        if not wanted:
            known = ", ".join(sorted(frame["metric"].unique())[:8])
            msg = f"no metric of {str(path)!r} matches {', '.join(only)}; it has {known}, ..."
            raise UsageError(msg)
        frame = frame.filter(pl.col("metric").is_in(wanted))
    if frame.is_empty():
        msg = f"{str(path)!r} holds no results; expected rows of series, step, metric and value"
        raise UsageError(msg)
    write_rows(store, frame, origin=path.name, digest=_digest(path), recipe=recipe)
    return frame


def logged_rows(series: str, history: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """What a Trainer logged, as rows: the metric `logged_loss` of key `loss`, and so on."""
    rows = [
        {"series": series, "step": row["step"], "metric": f"logged_{key}", "value": float(value)}
        for row in history for key, value in row.items()
        if key not in ("step", "epoch") and isinstance(value, int | float) and not isinstance(value, bool)
    ]  # fmt: skip
    return _conform(pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame(schema=ROWS))


def write_rows(
    store: Store, frame: pl.DataFrame, *, origin: str, digest: str | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write rows with the columns `ROWS` into a store; `digest` is the hash of what they were read from.

    What is stored of the same content is replaced.
    """
    digest = digest or hashlib.sha256(frame.write_csv().encode()).hexdigest()
    run_id, now = uuid.uuid4().hex[:12], datetime.now(UTC).replace(tzinfo=None)
    axes = {key[0]: _axes(part) for key, part in frame.group_by("metric")}
    names = frame["metric"].unique().sort().to_list()
    pairs = frame.select("series", "metric").unique().sort("series", "metric")
    versions = {"python": platform.python_version(), "training-dynamics": version("training-dynamics")}
    known = store.read("checkpoints").select("series", "stage", "step")
    steps = frame.group_by("series", "stage", "step").agg(pl.col("tokens_seen").max())
    fresh = steps.join(known, on=("series", "stage", "step"), how="anti", nulls_equal=True).sort("series", "step")
    tables: dict[str, Any] = {
        "metrics": [_metric_row(name, axes[name], origin) for name in names],
        "tasks": [{"task": "imported", "task_hash": digest, "settings": to_json({"file": origin})}],
        "plans": pairs.with_columns(run_id=pl.lit(run_id), task_hash=pl.lit(digest), version=pl.lit(1)),
        "runs": [{"run_id": run_id, "started": now, "finished": now, "versions": to_json(versions),
                  "recipe": redact(to_json(recipe or {"import": origin})), "host": socket.gethostname()}],
        "measurements": frame.drop("tokens_seen").with_columns(
            weights_sha=pl.lit(""), task_hash=pl.lit(digest), version=pl.lit(1), run_id=pl.lit(run_id)
        ),
    }  # fmt: skip
    if len(fresh):
        tables["checkpoints"] = fresh.with_columns(
            weights_sha=pl.lit(""), revision=pl.lit(origin), status=pl.lit("imported"), note=pl.lit("")
        )
    unknown = set(frame["series"]) - set(store.read("series")["series"])
    if unknown:
        tables["series"] = [{"series": name, "source": f"import:{origin}"} for name in sorted(unknown)]
    store.write(**tables)


def _read(path: Path, series: str | None) -> pl.DataFrame:
    if path.suffix in TABLES:
        return _table(path, series)
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    results = [(file, content) for file in files if "results" in (content := _json(file))]
    if results:
        return pl.concat([_harness(file, content, series) for file, content in results])
    logs = [content for file in files if "log_history" in (content := _json(file))]
    if logs:
        longest = max(logs, key=lambda content: len(content["log_history"]))
        folder = path if path.is_dir() else path.parent
        named = folder.parent.name if folder.name.startswith("checkpoint-") else folder.resolve().name
        return logged_rows(series or named, [row for row in longest["log_history"] if isinstance(row.get("step"), int)])
    msg = f"cannot import {str(path)!r}; expected {', '.join(TABLES)}, harness results (JSON) or trainer_state.json"
    raise UsageError(msg)


def _table(path: Path, series: str | None) -> pl.DataFrame:
    try:
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path)
        else:
            frame = pl.read_csv(path, separator="\t" if path.suffix == ".tsv" else ",", infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError) as error:
        msg = f"cannot read {str(path)!r}: {error}; expected a table of series, step, metric and value"
        raise UsageError(msg) from error
    found = {ours: next((c for c in theirs if c in frame.columns), None) for ours, theirs in COLUMNS.items()}
    if found["series"] is None:
        frame = frame.with_columns(series=pl.lit(series or path.stem))
        found["series"] = "series"
    missing = [f"{name} (or {' or '.join(COLUMNS[name][1:])})" if COLUMNS[name][1:] else name
               for name in ("step", "metric", "value") if found[name] is None]  # fmt: skip
    if missing:
        msg = f"{str(path)!r} has no column {', '.join(missing)}; it has {', '.join(frame.columns)}"
        raise UsageError(msg)
    renamed = frame.select(pl.col(theirs).alias(ours) for ours, theirs in found.items() if theirs is not None)
    if found["task"] is not None:
        named = pl.concat_str(["task", "metric"], separator="_")
        renamed = renamed.with_columns(metric=named).drop("task")
    step = renamed["step"]
    if step.dtype.is_float() and len(broken := step.filter(step % 1 != 0)):
        msg = f"{str(path)!r} has step {broken[0]}; expected whole numbers"
        raise UsageError(msg)
    try:
        rows = _conform(renamed)
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        msg = f"cannot read {str(path)!r}: {reason}; expected whole numbers as steps, and numbers as values"
        raise UsageError(msg) from error
    _refuse_contradictions(rows, path, [name for name in frame.columns if name not in found.values()])
    return rows


def _refuse_contradictions(rows: pl.DataFrame, path: Path, unread: Sequence[str]) -> None:
    """Two histories under one name would be drawn as one, of which each row shows either."""
    twice = rows.group_by(PLACE).agg(pl.col("value").unique()).filter(pl.col("value").list.len() > 1)
    if len(twice):
        row = twice.sort(PLACE).row(0, named=True)
        values = " and ".join(f"{value:g}" for value in row["value"][:2])
        hint = f"; columns that are not read: {', '.join(unread)}" if unread else ""
        msg = (
            f"{str(path)!r} says {values} of {row['metric']!r} of {row['series']!r} at step {row['step']}, and so "
            f"at {len(twice)} places; expected one value: give each history a name of its own in 'series'{hint}"
        )
        raise UsageError(msg)


def _harness(path: Path, content: Mapping[str, Any], series: str | None) -> pl.DataFrame:
    """Results of lm-evaluation-harness; the step is that of the revision, or of the names of file and folder."""
    from dynamics.sources.names import LONGEST, read_name

    config = content.get("config", {})
    arguments = config.get("model_args") or {}
    if isinstance(arguments, str):
        arguments = dict(part.split("=", 1) for part in arguments.split(",") if "=" in part)
    model_path = [part for part in str(arguments.get("pretrained") or config.get("model") or "").split("/") if part]
    revisions = [read_name(str(place)) for place in (arguments.get("revision"), config.get("model_revision")) if place]
    # Beside a step, a name of another kind may hold a number too: "160M", "pythia-70m-step1000", a date.
    parts = [_STEP.search(place) for place in (*model_path[-1:], path.parent.name, path.stem) if len(place) <= LONGEST]
    names = (*revisions, *(read_name(part[0]) for part in parts if part))
    name = next((name for name in names if name is not None), None)
    if name is None:
        msg = f"{path} names no step: its revision is {arguments.get('revision')!r}; expected one such as step1000"
        raise UsageError(msg)
    histories = [part for part in model_path if not _STEP.fullmatch(part)]  # "mine", of "/runs/mine/checkpoint-500"
    model = series or (histories[-1] if histories else path.parent.name)
    samples = content.get("n-samples", {})
    rows = []
    for task, results in content["results"].items():
        for key, value in results.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                metric = "_".join(part for part in key.split(",") if part != "none")
                rows.append({
                    "series": model, "stage": name.stage, "step": name.step, "metric": f"{task}_{_plain(metric)}",
                    "value": float(value), "n": samples.get(task, {}).get("effective"),
                })  # fmt: skip
    return _conform(pl.DataFrame(rows, infer_schema_length=None))


def _plain(metric: str) -> str:
    """`acc_stderr_get-answer` says the error of `acc_get-answer`: the word goes last."""
    return metric.replace(_STDERR, "", 1) + _STDERR if _STDERR in metric else metric


def _with_stderr(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of `acc_stderr` become the standard errors of the rows of `acc`."""
    is_error = pl.col("metric").str.ends_with(_STDERR)
    errors = frame.filter(is_error).select(
        *PLACE[:3], pl.col("metric").str.strip_suffix(_STDERR), *PLACE[4:], pl.col("value").alias("_stderr")
    )
    values = frame.filter(~is_error).join(errors.unique(PLACE), on=PLACE, how="left", nulls_equal=True)
    kept = values.with_columns(stderr=pl.coalesce("stderr", "_stderr")).drop("_stderr")
    return kept.unique(PLACE, keep="last", maintain_order=True)


def _conform(frame: pl.DataFrame) -> pl.DataFrame:
    columns = [
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name) for name, kind in ROWS.items()
    ]
    return frame.select(columns).with_columns(pl.col("stage").fill_null("")).drop_nulls(["series", "step", "metric"])


def _axes(part: pl.DataFrame) -> str:
    return ",".join(name for name in ("layer", "head", "index", "label") if part[name].null_count() < len(part))


def _metric_row(name: str, axes: str, origin: str) -> dict[str, Any]:
    is_share = SHARES.search(name) is not None
    title = " ".join(WRITTEN.get(word, word) for word in name.split("_"))
    return {
        "metric": name, "version": 1, "unit": "share" if is_share else "", "lower": 0.0 if is_share else None,
        "upper": 1.0 if is_share else None, "axes": axes, "title": title,
        "source": f"imported from {origin}",
    }  # fmt: skip


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*.json")) if path.is_dir() else [path]:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
