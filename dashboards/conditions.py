"""Under which conditions a figure's numbers were measured: task, n, seed, definition, in one line for its caption."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from dashboards.frames import Frames
from dashboards.theme import shorten


def conditions(frames: Frames, metrics: Sequence[str]) -> str:
    """One line: `Task repeated_tokens (seed 0, 256 examples, hash aa11…). n = 256 per number. Definition: …`"""
    rows = frames.curves(*metrics)
    if rows.is_empty():
        return ""
    hashes = rows["task_hash"].drop_nulls().unique().sort().to_list()
    # A metric that also reads the last checkpoint carries that one's hash in its task's: one task, said once.
    used = frames.tasks.filter(pl.col("task_hash").is_in(hashes)).unique(
        ("task", "seed", "settings"), maintain_order=True
    )
    tasks = [_task(row) for row in used.iter_rows(named=True)]
    counts = rows["n"].drop_nulls().unique().sort().to_list()
    n = f"n = {_range(counts)} per number." if counts else ""
    seeds = frames.series["seed"].drop_nulls().unique().sort().to_list()
    seed = f"Training seed {', '.join(str(seed) for seed in seeds[:8])}." if seeds else ""
    sources = [shorten(text, 200) for metric in metrics if (text := frames.about(metric).get("source"))]
    defined = f"Definition: {'; '.join(dict.fromkeys(sources))}." if sources else ""
    return " ".join(part for part in (*tasks, n, seed, defined) if part)


def _task(row: dict[str, Any]) -> str:
    """The task with what names it; all its settings stand in the report's provenance."""
    facts = [f"seed {row['seed']}" if row["seed"] is not None else "", _examples(row["n_examples"]),
             f"hash {(row['task_hash'] or '')[:10]}"]  # fmt: skip
    return f"Task {shorten(row['task'] or 'not named')} ({', '.join(fact for fact in facts if fact)})."


def _examples(count: int | None) -> str:
    return "" if count is None else f"{count:,} examples"


def _range(counts: list[int]) -> str:
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
