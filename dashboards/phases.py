"""The three phases of grokking, read off the detected events: memorisation, circuit formation, cleanup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from dashboards.frames import Frames
from dashboards.theme import step

RULE = (
    "Phases come from the detected events: memorisation ends at the completion of the largest fall of the train loss, "
    "circuit formation ends at the onset of the largest fall of the test loss, cleanup at its completion."
)


@dataclass(frozen=True)
class Phase:
    """One phase of one series, from one step to another."""

    series: str
    name: str
    first: float
    last: float


def phases(frames: Frames, series: str) -> tuple[list[Phase], str]:
    """The phases, and one sentence that says how they were found or why they are not there."""
    train, test = _fall(frames, series, "train_loss"), _fall(frames, series, "test_loss")
    missing = [name for name, event in (("train loss", train), ("test loss", test)) if event is None]
    if train is None or test is None:
        return [], f"No phases are shaded: no fall was detected in the {' and the '.join(missing)}."
    ends = [float(frames.steps(series)[0]), train["completion"], test["onset"], test["completion"]]
    if ends != sorted(ends):
        return [], (
            f"No phases are shaded: the fall of the test loss begins (step {step(ends[2])}) before that of the train loss "
            f"is complete (step {step(ends[1])}), so the model did not first memorise."
        )
    names = ("memorisation", "circuit formation", "cleanup")
    found = [Phase(series, name, a, b) for name, a, b in zip(names, ends, ends[1:], strict=False)]
    told = ", ".join(f"{phase.name} {step(phase.first)}–{step(phase.last)}" for phase in found)
    return found, f"{RULE} Here: {told}."


def _fall(frames: Frames, series: str, metric: str) -> dict[str, Any] | None:
    events = frames.events_of(metric).filter((pl.col("series") == series) & (pl.col("direction") == "down"))
    events = events.filter(pl.col("onset").is_not_null() & pl.col("completion").is_not_null())
    largest = events.sort((pl.col("before") - pl.col("after")), descending=True, nulls_last=True)
    return largest.row(0, named=True) if largest.height else None
