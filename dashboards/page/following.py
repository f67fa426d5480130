"""Events of a run that still grows: looked for anew after each checkpoint, in a process of its own.

A look takes about 50 ms a curve, and a page that waited for it would show its new points late. So one process behind
all others looks at the newest state; what is measured meanwhile waits for the next look.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import polars as pl

from dashboards import theme
from dashboards.frames import CURVE, PLACE, Frames
from dashboards.places import named
from dashboards.wording import change, verb

NICE = 10  # measuring goes first
MAX_ROWS = 30
KEPT = 10  # withdrawn events that are still shown: `follow` tells of each only once
GONE = pl.col("status") == "withdrawn"
READ = ("series", "step", "metric", "value", "stderr", *PLACE)


class Following:
    """What has become of the events of one run, as of the last look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._work: Future[pl.DataFrame] | None = None
        self._looked_at = 0  # checkpoints of all series
        self._known: pl.DataFrame | None = None
        self._withdrawn: pl.DataFrame | None = None
        self._failed = ""

    def look(self, frames: Frames) -> None:
        """Begin a look where there are checkpoints that none has seen and none is under way. Returns at once."""
        with self._lock:
            curves = frames.examined()
            measured = curves.select("series", "stage", "step").n_unique()
            if self._work is not None or measured in (0, self._looked_at):
                return
            self._looked_at = measured
            work = self._work = self._begin(partial(_follow, self._known, curves.select(READ), frames.metrics))
        work.add_done_callback(self._done)

    def told(self, frames: Frames) -> dict[str, Any]:
        """The events for the page, the latest news first, and what could not be done."""
        with self._lock:
            known, withdrawn, failed = self._known, self._withdrawn, self._failed
        if known is None or withdrawn is None:
            return {"rows": [], "hidden": 0, "failed": failed}
        shown = pl.concat([withdrawn, known.filter(~GONE)])
        placed = named(shown, frames.metrics).sort("first_seen", "midpoint", descending=True)
        return {
            "rows": [_row(frames, event) for event in placed.head(MAX_ROWS).iter_rows(named=True)],
            "hidden": max(0, placed.height - MAX_ROWS),
            "failed": failed,
        }

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self, look: Callable[[], pl.DataFrame]) -> Future[pl.DataFrame]:
        """A look in the process behind; in a new one where there is none or it was ended from outside."""
        try:
            if self._pool is not None:
                return self._pool.submit(look)
        except BrokenExecutor:
            pass
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=partial(os.nice, NICE))
        return self._pool.submit(look)

    def _done(self, work: Future[pl.DataFrame]) -> None:
        with self._lock:
            self._work = None
            error = None if work.cancelled() else work.exception()
            self._failed = f"{type(error).__name__}: {error}" if error else ""
            if error is None and not work.cancelled():
                self._known = work.result()
                before = self._known.clear() if self._withdrawn is None else self._withdrawn
                found = self._known.filter(~GONE)
                left = before.join(found, on=CURVE, how="anti", nulls_equal=True)
                self._withdrawn = pl.concat([left, self._known.filter(GONE)]).tail(KEPT)


def _follow(known: pl.DataFrame | None, curves: pl.DataFrame, metrics: pl.DataFrame) -> pl.DataFrame:
    from dynamics.events import follow  # scipy takes seconds to load: here, away from the page

    return follow(known, curves, metrics=metrics)


def _row(frames: Frames, event: dict[str, Any]) -> dict[str, Any]:
    where = " in ".join(filter(None, (frames.title(event["metric"]), event["place"])))
    q_value = event["p_value"] if event["q_value"] is None else event["q_value"]
    return {
        "status": event["status"], "series": event["series"], "claim": f"{where} {verb(event)}",
        "midpoint": event["midpoint"], "lower": event["lower"], "upper": event["upper"], "change": change(event),
        "q": q_value, "seen": event["first_seen"], "note": theme.shorten(event["note"] or "", 200),
    }  # fmt: skip
