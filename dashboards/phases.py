"""The three phases of grokking, read off the detected events: memorisation, circuit formation, cleanup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from dashboards.frames import Frames
from dashboards.theme import step

FALLEN = 0.05  # of its first value: the train loss has been learnt
RULE = (
    "circuit formation ends at the onset of the largest detected fall of the test loss, on a logarithmic scale where "
    "there is one, as the papers draw it; cleanup at its completion"
)


@dataclass(frozen=True)
class Phase:
    """One phase of one series, from one step to another."""

    series: str
    name: str
    first: float
    last: float


def phases(frames: Frames, series: str) -> tuple[list[Phase], str]:
    """The phases, and what to say about how they were found or why they are not there."""
    memorised, rule = _memorised(frames, series)
    test = _fall(frames, series, "test_loss")
    if memorised is None:
        return [], "No phases are shaded: the train loss does not fall."
    if test is None:
        return [], "No phases are shaded: no fall of the test loss was detected."
    ends = [float(frames.steps(series)[0]), memorised, test["onset"], test["completion"]]
    if ends != sorted(ends):
        return [], (
            f"No phases are shaded: the fall of the test loss begins (step {step(ends[2])}) before that of the train "
            f"loss is complete (step {step(ends[1])}), so the model did not first memorise."
        )
    names = ("memorisation", "circuit formation", "cleanup")
    found = [Phase(series, name, a, b) for name, a, b in zip(names, ends, ends[1:], strict=False)]
    told = ", ".join(f"{phase.name} {step(phase.first)}–{step(phase.last)}" for phase in found)
    return found, f"Phases: {told}. Memorisation ends {rule}; {RULE}."


def _memorised(frames: Frames, series: str) -> tuple[float | None, str]:
    """The step at which the train pairs are learnt, and by which rule."""
    event = _fall(frames, series, "train_loss")
    if event is not None:
        return event["completion"], "at the completion of the largest detected fall of the train loss"
    rows = frames.curves("train_loss").filter((pl.col("series") == series) & pl.col("value").is_not_null()).sort("step")
    if rows.is_empty():
        return None, ""
    low = rows.filter(pl.col("value") < FALLEN * pl.col("value").first())
    if low.is_empty():
        return None, ""
    # Where the whole fall lies in one gap between checkpoints there is no event to date, only a bound.
    rule = (
        f"at the first checkpoint whose train loss is below {FALLEN:.0%} of the first (its fall is too quick to date)"
    )
    return float(low["step"][0]), rule


def _fall(frames: Frames, series: str, metric: str) -> dict[str, Any] | None:
    events = frames.events_of(metric).filter((pl.col("series") == series) & (pl.col("direction") == "down"))
    events = events.filter(
        pl.col("kind").eq("transition") & pl.col("onset").is_not_null() & pl.col("completion").is_not_null()
    )  # a bend has an onset that is its completion
    # A test loss that came down from 20 to 0.01 has lost all of itself, and most of its digits are still to go.
    if metric == "test_loss" and "scale" in events.columns and events["scale"].eq("log").any():
        events = events.filter(pl.col("scale") == "log")
    largest = events.sort((pl.col("before") - pl.col("after")), descending=True, nulls_last=True)
    return largest.row(0, named=True) if largest.height else None
