"""Adaptive sweeps: measure a coarse subset of a history, then the checkpoints that narrow its events down."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from dynamics.checkpoint import Checkpoint
from dynamics.errors import UsageError
from dynamics.events import next_steps
from dynamics.sources import Series
from dynamics.store import Store

SKIPPED = "not measured: the adaptive sweep needed no more checkpoints here"


def rounds(series: Series, store: Store, metrics: list[str], budget: int) -> Iterator[tuple[Checkpoint, ...]]:
    """Groups of checkpoints to measure, each chosen from what the groups before it showed.

    Ends when no unmeasured checkpoint would narrow an event, or when `budget` checkpoints are measured. What was
    left out is then written into the store as skipped.
    """
    if len({checkpoint.stage for checkpoint in series.checkpoints}) > 1:
        msg = f"{series.name} has steps that restart by stage, which an adaptive sweep cannot order; give other steps"
        raise UsageError(msg)
    by_step = {checkpoint.step: checkpoint for checkpoint in series.checkpoints}
    tried: set[int] = set()
    while wanted := _wanted(series, store, metrics, budget, set(by_step)) - tried:
        tried |= wanted
        yield tuple(by_step[step] for step in sorted(wanted))
    measured = set(_status(series, store)["step"])
    store.write(
        checkpoints=[
            {"series": series.name, "stage": left.stage, "step": left.step, "tokens_seen": left.tokens_seen,
             "revision": left.revision, "status": "skipped", "note": SKIPPED}
            for left in series.checkpoints if left.step not in measured
        ]
    )  # fmt: skip


def _wanted(series: Series, store: Store, metrics: list[str], budget: int, steps: set[int]) -> set[int]:
    failed = set(_status(series, store).filter(pl.col("status") == "failed")["step"])
    frame = store.read("curves").filter(
        (pl.col("series") == series.name) & pl.col("metric").is_in(metrics) & pl.col("step").is_in(list(steps))
    )
    return {int(step) for step in next_steps(frame, steps - failed, budget, store.read("metrics"))}


def _status(series: Series, store: Store) -> pl.DataFrame:
    rows = store.read("checkpoints")
    return rows.filter((pl.col("series") == series.name) & (pl.col("status") != "skipped"))
