"""One report across runs: models, seeds, sizes. What they share, what each has alone, and when."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from dashboards import across, side_by_side
from dashboards.agreement import MAX_ROWS, Table, consensus_table
from dashboards.charts import Figure, load_charts
from dashboards.document import ARCHIVE, Document, compose, html, markdown
from dashboards.gather import Gathered, gather
from dashboards.report import write_figures
from dashboards.theme import interval, number, probability, shorten, step
from dashboards.wording import change, join, verb
from dynamics.errors import UsageError
from dynamics.events import on_axis
from dynamics.store import Store

MAX_NAMED = 6  # series without a change
SHARED = ("event_timeline", "checkpoint_strip")  # charts of one run that say something about several


def compare(folders: Sequence[str | Path], out: str | Path, *, pictures: bool = True) -> Path:
    """Write report.html, report.md, events.csv, measurements.parquet and figures about several runs into `out`.

    The runs are only read. Returns the path of report.html. Raises UsageError where a folder has no store, is named
    twice, or is `out` itself, whose own report would be lost.
    """
    out = Path(out)
    if out.resolve() in {Path(folder).resolve() for folder in folders}:
        msg = f"cannot write the comparison into {out}: it is one of the runs, and has a report; name another folder"
        raise UsageError(msg)
    gathered = gather(folders)
    document = _document(gathered)
    out.mkdir(parents=True, exist_ok=True)
    if pictures:
        write_figures(out / "figures", document)
    gathered.frames.events.drop("place", "curve", "share", "large").write_csv(out / "events.csv")
    _archive(gathered, out / ARCHIVE)
    (out / "report.md").write_text(markdown(document), encoding="utf-8")
    page = out / "report.html"
    page.write_text(html(document), encoding="utf-8")
    return page


def _archive(gathered: Gathered, path: Path) -> None:
    """All numbers of the runs as they are stored, under the names that the series have here; none waits in memory."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        parts = []
        for number_of, (run, names) in enumerate(gathered.folders.items()):
            part = Path(folder) / f"{number_of}.parquet"
            with Store(run, read_only=True) as store:
                store.export("measurements", part)
            parts.append(pl.scan_parquet(part).with_columns(pl.col("series").replace(names)))
        pl.concat(parts).sink_parquet(path)


def _document(gathered: Gathered) -> Document:
    names = gathered.group_names()
    title = f"{join([shorten(name, 40) for name in names[:4]])}{' and others' * (len(names) > 4)}, compared"
    document = compose(gathered.frames, title, _figures(gathered))
    tables = [table for table in (_changes(gathered), consensus_table(gathered)) if table.rows]
    # Each run's own report lists its changes one by one; here they stand in the tables of the comparison.
    own = {"findings": [], "shown": [], "folded": [], "hidden_findings": 0}
    comparison = {"tables": tables, "cautions": gathered.cautions}
    return replace(document, words={**document.words, **own, "comparison": comparison})


def _figures(gathered: Gathered) -> list[Figure]:
    shared = [(name, load_charts()[name]) for name in SHARED]
    drawn = [Figure(name, entry.title, entry.draw(gathered.frames), ()) for name, entry in shared]
    first, last = [[figure] if figure.drawing is not None else [] for figure in drawn]
    return [*side_by_side.figures(gathered), *first, *last]


def _changes(gathered: Gathered) -> Table:
    """When each large change came in each series: the largest of its metric and direction, in whichever head."""
    frames = gathered.frames
    found = frames.events.filter(pl.col("large") & pl.col("midpoint").is_not_null() & (pl.col("kind") != "spike"))
    found = found.sort("share", descending=True, nulls_last=True).unique(
        ("series", "metric", "direction"), keep="first", maintain_order=True
    )
    loss = next((name for name in side_by_side.LOSSES if name in frames.names()), None)
    found = _at(found, frames.measurements, "tokens_seen")
    found = _at(found, frames.measurements, loss).rename({f"at_{loss}": "at_loss"}) if loss else found
    if across.is_many(frames):
        return _shared(gathered, found)
    shares = found.group_by("metric", "direction").len("n").sort("n", "metric", descending=[True, False])
    rows = []
    for metric, direction, _ in shares.iter_rows():
        part = found.filter((pl.col("metric") == metric) & (pl.col("direction") == direction)).sort("midpoint")
        rows += [_row(gathered, event) for event in part.iter_rows(named=True)]
        measured = frames.curves(metric).filter(pl.col("value").is_not_null())["series"].unique().to_list()
        absent = [name for name in frames.series_names() if name in measured and name not in part["series"].to_list()]
        if absent:
            said = f"{frames.title(metric)}: no large change {'up' if direction == 'up' else 'down'}"
            rows.append([said, join(absent[:6]) + " …" * (len(absent) > 6), *["–"] * 5])
    at_loss = f"At {frames.title(loss).lower()}" if loss else "At loss"
    columns = ["Change", "Series", "Midpoint step", "Tokens seen", at_loss,
               "From → to", "q"]  # fmt: skip
    more = f" {len(rows) - MAX_ROWS} more rows are left out; events.csv has all." if len(rows) > MAX_ROWS else ""
    note = (
        "The largest change of each metric and direction in each series, with the 95 % interval of its midpoint. "
        f"Tokens and loss are read off at the midpoint; a dash stands where they were not stored.{more}"
    )
    return Table("The same change in several models", columns, rows[:MAX_ROWS], note)


def _shared(gathered: Gathered, found: pl.DataFrame) -> Table:
    """The same for many series, one row a change: in how many, and its first, middle and last step."""
    rows = []
    for change_ in across.shared_changes(gathered.frames)[:MAX_ROWS]:
        own = found.filter((pl.col("metric") == change_.metric) & pl.col("series").is_in(change_.names()))
        ends = [f"{step(event['midpoint'])} ({event['series']})" for event in (change_.events[0], change_.events[-1])]
        middle = change_.events[len(change_.events) // 2]["midpoint"]
        tokens = own["at_tokens_seen"].drop_nulls().median()
        without = [name for name in change_.measured if name not in change_.names()]
        rows.append([
            change_.claim, f"{len(change_.events)} of {len(change_.measured)}",
            ends[0], step(middle), ends[1],
            number(None if tokens is None else float(tokens)),  # pyright: ignore[reportArgumentType]
            join([*without[:MAX_NAMED], *["others"] * (len(without) > MAX_NAMED)]) if without else "–",
        ])  # fmt: skip
    note = "The largest change of each metric and direction in each series, by its midpoint; events.csv has all."
    columns = ["Change", "Series with it", "Earliest step", "Middle", "Latest step", "Tokens seen (median)",
               "Series without it"]  # fmt: skip
    return Table("The same change in several models", columns, rows, note)


def _at(events: pl.DataFrame, measurements: pl.DataFrame, metric: str) -> pl.DataFrame:
    """The events with `at_<metric>`; empty where no series has it."""
    known = measurements["tokens_seen"] if metric == "tokens_seen" else measurements["value"]
    if events.is_empty() or known.drop_nulls().is_empty():
        return events.with_columns(pl.lit(None, pl.Float64).alias(f"at_{metric}"))
    return on_axis(events, measurements, metric)


def _row(gathered: Gathered, event: dict[str, Any]) -> list[str]:
    title = f"{gathered.frames.title(event['metric'])} {verb(event)}"
    place = f" in {event['place']}" if event["place"] else ""
    when = f"{step(event['midpoint'])} ({interval(event['lower'], event['upper'])})"
    at = [number(event["at_tokens_seen"]), number(event.get("at_loss"))]
    return [
        title,
        event["series"] + place,
        when,
        *at,
        change(event),
        probability(event["q_value"]).removeprefix("=\u00a0"),
    ]
