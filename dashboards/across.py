"""Many series in words: what changed in how many of them, from when to when, instead of series by series."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dashboards.chances import NEVER, of, verdicts
from dashboards.frames import Frames
from dashboards.gradual import goes, trend
from dashboards.order import comes_before
from dashboards.theme import number, step
from dashboards.wording import join, lower, verb

MANY = 4  # series beyond which changes are told across them
MAX_TOLD = 8
COMPARED = 4  # changes whose order is told
FEWEST = 3  # series that must have both of two changes before their order is told


@dataclass(frozen=True)
class Shared:
    """One change of one metric, in however many series: the largest event of each, the earliest first."""

    metric: str
    claim: str  # "LAMBADA accuracy rose or bent upwards"
    events: list[dict[str, Any]]
    measured: list[str]  # the series in which it was looked for
    at_chance: bool = False  # none of them ever leaves what guessing gives in this task

    def names(self) -> list[str]:
        """The series that have it."""
        return [event["series"] for event in self.events]


def is_many(frames: Frames) -> bool:
    """Whether there are too many series to tell about each."""
    return len(frames.series_names()) > MANY


def shared_changes(frames: Frames) -> list[Shared]:
    """The large changes, those that most series have first, those at chance last.

    A spike is a checkpoint that stands out, no change.
    """
    found = frames.events.filter(pl.col("large") & pl.col("midpoint").is_not_null() & (pl.col("kind") != "spike"))
    # A bend has no half-way point: it stands for a series only where there is no change of level.
    found = found.sort(pl.col("kind") == "transition", "share", descending=True, nulls_last=True).unique(
        ("series", "metric", "direction"), keep="first", maintain_order=True
    )
    told = []
    for part in found.sort("metric", "direction", "midpoint").partition_by("metric", "direction", maintain_order=True):
        metric, events = part["metric"][0], part.to_dicts()
        verbs = list(dict.fromkeys(verb(event) for event in part.sort("kind", descending=True).to_dicts()))
        rows = frames.curves(metric).filter(pl.col("value").is_not_null())
        measured = [name for name in frames.series_names() if (rows["series"] == name).any()]
        never = {one.series for one in of(verdicts(frames), metric, NEVER)}
        at_chance = never.issuperset(event["series"] for event in events)
        told.append(Shared(metric, f"{frames.title(metric)} {' or '.join(verbs)}", events, measured, at_chance))
    return sorted(told, key=lambda change: (change.at_chance, -len(change.events), change.claim))


def lines(changes: Sequence[Shared]) -> list[tuple[str, str]]:
    """What each change is called, and where and when it took place."""
    told = [(change.claim, _spread(change)) for change in changes[:MAX_TOLD]]
    rest = changes[MAX_TOLD:]
    if rest:
        told.append((f"{len(rest)} more", join([lower(change.claim) for change in rest[:MAX_TOLD]]) + "."))
    return told


def _spread(change: Shared) -> str:
    first, last = change.events[0], change.events[-1]
    end = ", without ever leaving chance." if change.at_chance else "."
    if first is last:
        return f"in {first['series']} alone of {len(change.measured)} series, at step {step(first['midpoint'])}{end}"
    ends = f"{step(first['midpoint'])} ({first['series']}) and {step(last['midpoint'])} ({last['series']})"
    return f"in {len(change.events)} of {len(change.measured)} series, between steps {ends}{end}"


def lead(changes: Sequence[Shared]) -> str:
    """The two changes that most series share, in a sentence each."""
    told = []
    for change in changes[:2]:
        middles = [event["midpoint"] for event in change.events]
        when = f"between steps {step(middles[0])} and {step(middles[-1])}"
        when = when if len(middles) > 1 else f"at step {step(middles[0])}"
        told.append(f"{change.claim} in {len(middles)} of {len(change.measured)} series, {when}.")
    return " ".join(told)


def orders(frames: Frames, changes: Sequence[Shared]) -> list[tuple[str, str]]:
    """For every two of the commonest changes, in how many series which came first."""
    told, untold = [], []
    for one, two in itertools.combinations([change for change in changes if not change.at_chance][:COMPARED], 2):
        pairs = [(a, b) for a in one.events for b in two.events if a["series"] == b["series"]]
        if len(pairs) < FEWEST or one.metric == two.metric:
            continue
        before = sum(comes_before(a, b, frames.steps(a["series"])) for a, b in pairs if _dated(a, b))
        after = sum(comes_before(b, a, frames.steps(a["series"])) for a, b in pairs if _dated(a, b))
        unknown = len(pairs) - before - after
        if not before and not after:
            untold.append(f"“{lower(one.claim)}” and “{lower(two.claim)}” ({len(pairs)} series)")
            continue
        counted = f"first in {before}, last in {after}, in {unknown} the checkpoints do not tell"
        said = f"against “{lower(two.claim)}”, of {len(pairs)} series that have both: {counted}."
        told.append((one.claim, said))
    return [*told, *[("The checkpoints tell no order in any series", f"{'; '.join(untold)}.")] * bool(untold)]


def _dated(*events: dict[str, Any]) -> bool:
    return all(event["lower"] is not None and event["upper"] is not None for event in events)


def quiet(frames: Frames) -> list[tuple[str, str]]:
    """The metrics without any change in at least one series: in how many they go gradually, in how many nowhere."""
    told, rows = [], frames.examined()
    for metric in rows["metric"].unique().sort().to_list():
        own = rows.filter(pl.col("metric") == metric)
        changed = set(frames.events_of(metric)["series"].to_list())
        measured = own["series"].unique().to_list()
        without = [name for name in frames.series_names() if name in measured and name not in changed]
        parts = own.filter(pl.col("series").is_in(without)).partition_by("series", as_dict=True)
        single = {name: part for (name,), part in parts.items() if part["curve"].n_unique() == 1}
        said = [
            _gradual([part for part in single.values() if trend(part) == way], verbs, len(measured))
            for way, verbs in ((1, "rises"), (-1, "falls"))
        ]
        still = [name for name in without if name not in single or not trend(single[name])]
        said.append(_still(own.filter(pl.col("series").is_in(still)), still, len(measured)))
        never = len(of(verdicts(frames), metric, NEVER))
        said.append(f"never leaves chance in {never} of {len(measured)}" if never else "")
        if without:
            told.append((frames.title(metric), "; ".join(text for text in said if text) + "."))
    return told


def _gradual(parts: list[pl.DataFrame], goes_how: str, measured: int) -> str:
    if not parts:
        return ""
    ends = [goes(part.sort("step")["value"].to_list()) for part in parts]
    start, end = (_between([pair[side] for pair in ends]) for side in (0, 1))
    where = f"in {len(parts)} of {measured} series"
    return f"{goes_how} gradually {where}: {start} → {end}, never faster than gradual learning"


def _still(rows: pl.DataFrame, names: list[str], measured: int) -> str:
    values = rows["value"].drop_nulls().to_list()
    if not values:
        return ""
    which = f": {join(names)}" if len(names) <= MANY and len(names) < measured else ""
    spread = f"{number(min(values))} to {number(max(values))}"
    return f"no change in {len(names)} of {measured} series{which} (values {spread})"


def _between(values: list[float]) -> str:
    low, high = number(min(values), 2), number(max(values), 2)
    return low if low == high else f"{low}–{high}"
