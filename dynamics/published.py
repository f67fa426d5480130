"""What papers published beside what a run measured: a recipe's `[[published]]` read off its curves and events."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import polars as pl
from pydantic import ValidationError

from dynamics.recipe import PublishedEntry, Reading

AT = ("first", "last", "largest", "smallest")
EVENTS = ("onset", "midpoint", "completion")
STEPS = ("above", "below", *EVENTS)
LEARNT_IN_TURN = ("order", "growth")


@dataclass(frozen=True)
class Ours:
    """What one series gives for a published number: a value, or words for a set; nothing where it is not there.

    `lower` and `upper` bound a step: the checkpoints around a crossing, or the 95 % interval of an event's midpoint.
    """

    series: str
    value: float | None = None
    words: str = ""
    lower: float | None = None
    upper: float | None = None


def ours(entry: PublishedEntry, curves: pl.DataFrame, events: pl.DataFrame) -> list[Ours]:
    """What each series that measured it has for a published number."""
    told = []
    for series in curves.filter(pl.col("metric") == entry.ours.metric)["series"].unique().sort().to_list():
        own = read(entry.ours, series, curves, events)
        if entry.minus is not None:
            own = _less(own, read(entry.minus, series, curves, events))
        told.append(own)
    return told


def read(reading: Reading, series: str, curves: pl.DataFrame, events: pl.DataFrame) -> Ours:
    """One reading of one series."""
    same = [pl.col("series") == series, pl.col("metric") == reading.metric]
    if reading.label is not None:
        same.append(pl.col("label") == reading.label)
    if reading.index is not None:
        same.append(pl.col("index") == reading.index)
    if reading.read in EVENTS:
        return _event(reading, series, events.filter(*same))
    rows = curves.filter(*same, pl.col("value").is_not_null()).sort("step", "index")
    if rows.is_empty():
        return Ours(series)
    if reading.read in ("above", "below"):
        return _crossing(reading, series, rows)
    if reading.read in LEARNT_IN_TURN:
        return Ours(series, _in_turn(reading, rows))
    if reading.read in AT:
        by = "step" if reading.read in ("first", "last") else "value"
        return Ours(series, rows.sort(by)["value"][0 if reading.read in ("first", "smallest") else -1])
    return _at_the_end(reading, series, rows.filter(pl.col("step") == rows["step"].max()))


def how(reading: Reading) -> str:
    """How a reading is made, in words."""
    of = reading.metric + (f" ({reading.label})" if reading.label else "")
    of += f" at index {reading.index}" if reading.index is not None else ""
    beyond = {"above": "is above", "below": "is below"}.get(reading.read)
    if beyond:
        return f"first checkpoint at which {of} {beyond} {reading.level:g}"
    if reading.read in EVENTS:
        change = {"up": "rise", "down": "fall", None: "change"}[reading.direction]
        scale = {"log": " on a logarithmic scale", "linear": " on a linear scale", None: ""}[reading.scale]
        return f"{reading.read} of the largest detected {change} of {of}{scale}"
    if reading.read in LEARNT_IN_TURN:
        what = "rank correlation of rank and step" if reading.read == "order" else "exponent g of step = c rank^g"
        return f"{what}, over the first checkpoints at which each {reading.metric} is below {reading.level:g}"
    return {
        "first": f"{of} at the first checkpoint", "last": f"{of} at the last checkpoint",
        "largest": f"largest {of} of all checkpoints", "smallest": f"smallest {of} of all checkpoints",
        "sum": f"sum of {of} at the last checkpoint",
        "count": f"how many of {of} are above {reading.level}, last checkpoint",
        "indices": f"where {of} is above {reading.level}, last checkpoint",
    }[reading.read]  # fmt: skip


def _at_the_end(reading: Reading, series: str, last: pl.DataFrame) -> Ours:
    if reading.read == "sum":
        return Ours(series, float(last["value"].sum()))
    beyond = last.filter(pl.col("value") > reading.level)["index"].to_list()
    if reading.read == "count":
        return Ours(series, float(len(beyond)))
    return Ours(series, words=" ".join(map(str, beyond)) or "none")


def _crossing(reading: Reading, series: str, rows: pl.DataFrame) -> Ours:
    crossed = pl.col("value") > reading.level if reading.read == "above" else pl.col("value") < reading.level
    beyond = rows.filter(crossed)
    if beyond.is_empty():
        return Ours(series)
    step = float(beyond["step"][0])
    before = rows.filter(pl.col("step") < step)["step"]
    return Ours(series, step, lower=float(before[-1]) if before.len() else step, upper=step)


def _in_turn(reading: Reading, rows: pl.DataFrame) -> float | None:
    """How the labels' order tells when each is learnt; those that never are say nothing, and two are no order."""
    every = rows.select(rank=pl.col("label").rank("dense"), step="step", value="value")
    learnt = every.filter(pl.col("value") < reading.level).group_by("rank").agg(pl.col("step").min())
    if learnt.height < 3 or learnt["step"].min() == 0:
        return None
    if reading.read == "order":
        return learnt.select(pl.corr("rank", "step", method="spearman")).item()
    return learnt.select(pl.all().log()).select(pl.cov("rank", "step") / pl.col("rank").var()).item()


def _event(reading: Reading, series: str, found: pl.DataFrame) -> Ours:
    wanted = found.filter(pl.col("kind") == "transition", pl.col(reading.read).is_not_null())
    if reading.direction is not None:
        wanted = wanted.filter(pl.col("direction") == reading.direction)
    if reading.scale is not None:
        # A run in which changes have not been looked for yet has no such column, and no event on another scale.
        wanted = wanted.filter((pl.col("scale") if "scale" in wanted.columns else pl.lit("linear")) == reading.scale)
    largest = wanted.sort((pl.col("after") - pl.col("before")).abs(), descending=True, nulls_last=True)
    if largest.is_empty():
        return Ours(series)
    row = largest.row(0, named=True)
    bounds = (row["lower"], row["upper"]) if reading.read == "midpoint" else (None, None)
    return Ours(series, float(row[reading.read]), "", *bounds)


def _less(one: Ours, two: Ours) -> Ours:
    if one.value is None or two.value is None:
        return Ours(one.series)
    own = Ours(one.series, one.value - two.value)
    if one.lower is None or one.upper is None or two.lower is None or two.upper is None:
        return own
    return replace(own, lower=one.lower - two.upper, upper=one.upper - two.lower)


def entries(recipe: Mapping[str, object]) -> list[PublishedEntry]:
    """The published numbers of a recipe as a store keeps it. Whatever is no such entry is left out."""
    listed = recipe.get("published")
    kept = []
    for entry in listed if isinstance(listed, list) else []:
        with suppress(ValidationError, TypeError):
            kept.append(PublishedEntry(**entry))
    return kept
