"""What the seeds of one model agree on: when each change came in each of them, and whether there is a common step."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from dashboards.frames import Frames
from dashboards.gather import Gathered, seed_groups
from dashboards.theme import interval, number, step
from dashboards.wording import verb
from dynamics.events import consensus, over_heads

MAX_ROWS = 60
CHANGE = ("metric", "layer", "head", "index", "label", "kind", "direction")


@dataclass(frozen=True)
class Table:
    """A table among the words of a report."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str


def as_gathered(frames: Frames) -> Gathered:
    """One run as what several are compared as, with its seeds together."""
    return Gathered(frames, seed_groups(frames, {name: name for name in frames.series_names()}), [], {})


def steps_table(gathered: Gathered, group: str) -> Table:
    """When each change came in each seed, the common ones first, in the order of their steps."""
    frames, seeds = gathered.frames, sorted(gathered.seeds(group), key=lambda name: (len(name), name))
    events = _surest(_known(frames, seeds))
    agreed = consensus(events, frames.examined().filter(pl.col("series").is_in(seeds)))
    early = events.group_by(CHANGE, maintain_order=True).agg(pl.col("midpoint").median().alias("early"))
    large = events.group_by(CHANGE, maintain_order=True).agg(pl.col("large").any())
    ordered = agreed.join(early, on=CHANGE, nulls_equal=True).join(large, on=CHANGE, nulls_equal=True)
    ordered = ordered.filter("large").sort("n_with", "early", descending=[True, False])
    rows = []
    for row in ordered.head(MAX_ROWS).iter_rows(named=True):
        own = events.filter(*(pl.col(name).eq_missing(pl.lit(row[name])) for name in CHANGE))
        found = {event["series"]: event for event in own.iter_rows(named=True)}
        place = f"{step(row['step'])} ({interval(row['lower'], row['upper'])})" if row["step"] is not None else "–"
        said = f"{frames.title(row['metric'])} {verb(row)}" + (f" ({row['label']})" if row["label"] else "")
        rows.append([said, *(_when(found.get(name)) for name in seeds), place, row["verdict"]])
    left = f" {len(ordered) - MAX_ROWS} more are left out." if len(ordered) > MAX_ROWS else ""
    note = (
        "Midpoints with their 95 % intervals: the surest large change of each kind in each seed, in whichever head. "
        "A common step is a random-effects mean, given where at least four fifths of the seeds have the change within "
        f"0.3 decades of each other; its interval is optimistic for two or three seeds.{left}"
    )
    return Table(f"Event steps over seeds: {group}", ["Change", *seeds, "Common step", "Verdict"], rows, note)


def consensus_table(gathered: Gathered) -> Table:
    """Over the seeds of each model: how many have a change, where it lies, whether they agree."""
    rows = []
    for group in gathered.group_names():
        if len(gathered.seeds(group)) > 1:
            rows += _agreement(gathered, group)
    note = (
        "For each metric the surest change of each seed, whichever head it is in. Share: of the seeds, with its 95 % "
        "interval (Wilson). Seeds that disagree about the place, by more than 0.3 decades or because an intermediate "
        "share has the change, are given none. The interval of a common place is optimistic for two or three seeds."
    )
    columns = ["Change", "Model", "Seeds with it", "Share", "Common step", "Spread (decades)", "Verdict"]
    return Table("Agreement between seeds", columns, rows[:MAX_ROWS], note)


def _agreement(gathered: Gathered, group: str) -> list[list[str]]:
    frames, seeds = gathered.frames, gathered.seeds(group)
    rows = []
    examined = frames.examined().filter(pl.col("series").is_in(seeds))
    for row in consensus(over_heads(_known(frames, seeds)), examined).iter_rows(named=True):
        place = f"{step(row['step'])} ({interval(row['lower'], row['upper'])})" if row["step"] is not None else "–"
        share = f"{row['share']:.0%} ({row['share_lower']:.0%}–{row['share_upper']:.0%})"
        said, having = f"{frames.title(row['metric'])} {verb(row)}", f"{row['n_with']} of {row['n_series']}"
        rows.append([said, group, having, share, place, number(row["spread"], 2), row["verdict"]])
    return rows


def _known(frames: Frames, seeds: list[str]) -> pl.DataFrame:
    """The events of some series that have a place and a probability."""
    whole = ("midpoint", "lower", "upper", "p_value")
    return frames.events.filter(pl.col("series").is_in(seeds), *(pl.col(name).is_not_null() for name in whole))


def _surest(events: pl.DataFrame) -> pl.DataFrame:
    """The surest event of each change in each seed. Heads have no identity across seeds; labels do."""
    in_heads = pl.col("layer").is_not_null() | pl.col("head").is_not_null()
    kept = pl.concat([events.filter(~in_heads), over_heads(events.filter(in_heads))])
    kept = kept.filter(pl.col("kind") != "spike").sort("p_value", maintain_order=True)
    return kept.unique(("series", *CHANGE), keep="first", maintain_order=True)


def _when(event: dict[str, object] | None) -> str:
    if event is None:
        return "–"
    return f"{step(event['midpoint'])} ({interval(event['lower'], event['upper'])})"  # pyright: ignore[reportArgumentType]
