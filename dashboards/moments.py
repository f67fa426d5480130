"""What emerged together: moments at which more curves change than chance would bring there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import polars as pl

from dashboards.frames import PLACE, Frames
from dashboards.order import comes_before
from dashboards.theme import interval, probability
from dashboards.wording import count, join, lower
from dynamics.events import co_occurring

MAX_EVENTS = 300  # of one series; the time that chance takes to draw grows with their square
MAX_METRICS = 5
CAUTION = (
    "Chance: the same numbers of changes, each at a checkpoint drawn at random, 400 times; rarely: in 1 of 20 draws. "
    "Heads of one layer do not change independently, so p is optimistic for them. Changing together is no sign of a "
    "cause."
)


@dataclass(frozen=True)
class Moment:
    """A stretch of steps at which many curves of a series change."""

    about: str  # the series
    text: str
    ends: tuple[float, float]  # the first and the last of the midpoints
    curves: frozenset[str]  # the `curve` of each that takes part


@lru_cache(maxsize=2)  # the summary tells them, the timeline draws them
def moments(frames: Frames) -> tuple[Moment, ...]:
    """Every such moment of every series, most curves first."""
    known = frames.events.filter(
        pl.all_horizontal(pl.col(name).is_not_null() for name in ("midpoint", "lower", "upper", "p_value")),
        pl.col("kind") != "spike",
    )
    told = []
    for series in frames.series_names():
        own = known.filter(pl.col("series") == series)
        few = own.sort("share", descending=True, nulls_last=True).head(MAX_EVENTS).sort("metric", "midpoint")
        limited = f" Only the {MAX_EVENTS} largest of {own.height:,} changes were compared." * (few.height < own.height)
        for row in co_occurring(few, frames.measurements.filter(pl.col("series") == series)).iter_rows(named=True):
            near = few.filter(pl.col("midpoint").is_between(row["lower"] * 0.999, row["upper"] * 1.001))
            members = near.filter(_name().is_in(row["members"]))
            places = members["midpoint"].sort().to_list() or [row["lower"], row["upper"]]
            said = (
                f"{row['n_curves']} of the {count(row['of'], 'curve')} with a change have one between steps "
                f"{interval(places[0], places[-1])}, where chance would rarely bring together more than "
                f"{row['expected']:.0f} (p\u00a0{probability(row['p_value'])}): {_members(frames, members)}."
                f"{_unordered(members, frames.steps(series))}{limited}"
            )
            told.append(Moment(series, said, (places[0], places[-1]), frozenset(members["curve"].to_list())))
    return tuple(told)


def _name() -> pl.Expr:
    """A curve's name as `co_occurring` gives it."""
    places = [(pl.lit(f" {axis} ") + pl.col(axis).cast(pl.String)).fill_null("") for axis in PLACE]
    return pl.concat_str([pl.col("metric"), *places])


def _members(frames: Frames, members: pl.DataFrame) -> str:
    told = []
    for part in members.partition_by("metric", maintain_order=True):
        places = part["place"].unique(maintain_order=True).to_list()
        title = lower(frames.title(part["metric"][0]))
        where = "" if places == [""] else f" in {places[0]}" if len(places) == 1 else f" in {len(places)} places"
        told.append(f"{title}{where}")
    return join(told[:MAX_METRICS] + [count(len(told) - MAX_METRICS, "other metric")] * (len(told) > MAX_METRICS))


def _unordered(members: pl.DataFrame, steps: list[int]) -> str:
    rows = members.sort("upper").select("lower", "upper").to_dicts()
    if rows and not comes_before(rows[0], max(rows, key=lambda row: row["lower"]), steps):
        return " The checkpoints do not tell which of them came first."
    return ""
