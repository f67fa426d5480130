"""The rows of the store that say what was measured: metrics, tasks, checkpoints, runs."""

from __future__ import annotations

import platform
import socket
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from typing import Any

from dynamics.checkpoint import Checkpoint
from dynamics.prefetch import Opened, published_sha, weigh
from dynamics.redaction import redact
from dynamics.sources import Series
from dynamics.store import to_json
from dynamics.tasks import Task
from metrics import Metric

# What a number depends on beside the code of the project itself.
PACKAGES = ("training-dynamics", "torch", "transformers", "safetensors", "polars", "duckdb")


def of_metric(metric: Metric) -> dict[str, Any]:
    """A definition."""
    return {
        "metric": metric.name, "version": metric.version, "unit": metric.unit, "lower": metric.lower,
        "upper": metric.upper, "axes": ",".join(metric.axes), "title": metric.title, "source": metric.source,
        "question": metric.question,
    }  # fmt: skip


def of_task(task: Task, task_hash: str) -> dict[str, Any]:
    """A batch of inputs, under the hash that the measurements made on it carry."""
    return {"task": task.name, "task_hash": task_hash, "seed": task.seed, "n_examples": task.n_examples,
            "settings": to_json(task.settings)}  # fmt: skip


def of_plan(run_id: str, series: str, metric: Metric, task_hash: str) -> dict[str, Any]:
    """What a run asks for."""
    return {"run_id": run_id, "series": series, "metric": metric.name, "task_hash": task_hash,
            "version": metric.version}  # fmt: skip


def of_checkpoint(checkpoint: Checkpoint, status: str, note: str) -> dict[str, Any]:
    """A checkpoint that was not measured, and why; or the part of the row that does not need its weights."""
    return {
        "series": checkpoint.series, "stage": checkpoint.stage, "step": checkpoint.step,
        "tokens_seen": checkpoint.tokens_seen, "revision": checkpoint.revision, "status": status, "note": note,
    }  # fmt: skip


def of_left_out(series: Series) -> list[dict[str, Any]]:
    """The checkpoints that are not measured since they are published wrong, with the hash and size they are published
    with."""
    found = []
    for checkpoint, reason in series.left_out:
        weighed = weigh(series, checkpoint)
        found.append(of_checkpoint(checkpoint, "skipped", f"left out: {reason}") | {
            "weights_sha": published_sha(series, checkpoint), "bytes": weighed.n_bytes if weighed else None,
        })  # fmt: skip
    return found


def of_listing(series: Series) -> dict[str, Any]:
    """What a source said of a series when it was listed."""
    return {"series": series.name, "notes": list(series.notes), "ignored": list(series.ignored)}


def of_measured(opened: Opened, note: str) -> dict[str, Any]:
    """A checkpoint that was measured."""
    weights = opened.weights
    return of_checkpoint(opened.checkpoint, "measured", note) | {
        "weights_sha": weights.sha, "dtype": weights.dtype, "bytes": weights.n_bytes,
    }  # fmt: skip


def of_run(run_id: str, started: datetime, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """One time that something was measured."""
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    return {
        "run_id": run_id, "started": started, "recipe": redact(to_json(recipe)), "versions": to_json(versions),
        "host": socket.gethostname(),
    }  # fmt: skip
