"""Where a report's numbers come from, and what is missing from them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from dashboards import theme
from dashboards.frames import Frames, loads
from dashboards.models import by_size
from dashboards.wording import join, lower

MAX_CHECKPOINTS = 2000  # rows of the table; those with a remark are never left out


@dataclass(frozen=True)
class Block:
    """One part of the provenance section: a table, a text, or both."""

    title: str
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    text: str = ""
    note: str = ""


@dataclass(frozen=True)
class Gap:
    """Something that was asked for and is not there."""

    series: str
    step: str
    what: str


def facts(frames: Frames) -> list[str]:
    """The run in one line: series, checkpoints, steps, numbers, date, device."""
    steps, numbers = frames.steps(), frames.n_numbers()
    failed, names = frames.failed().height, frames.series_names()
    listed = names if len(names) <= 4 else [*by_size(frames)[:2], "…", *by_size(frames)[-1:]]
    lines = [names[0] if len(names) == 1 else f"{len(names)} series: {', '.join(listed).replace(', …,', ' …')}"]
    asked = frames.checkpoints.height
    lines.append(f"{asked:,} checkpoints" + (f", {failed} of them failed" if failed else ""))
    if steps:
        lines.append(f"steps {theme.interval(steps[0], steps[-1])}")
    lines.append(f"{numbers:,} measurements")
    for run in frames.runs.sort("started", nulls_last=False).tail(1).iter_rows(named=True):
        if run["finished"] is None:
            lines.append("the run has not finished: this is what it has measured so far")
        when = run["finished"] or run["started"]
        if when is not None:
            imported = frames.measurements["weights_sha"].drop_nulls().is_empty()
            lines.append(f"{'taken in' if imported else 'measured'} {when:%Y-%m-%d %H:%M}")
        lines += [str(run[name]) for name in ("device", "dtype") if run[name]]
    return lines


def reduced(frames: Frames) -> str:
    """What of a long store is drawn, where that is not all of it; or nothing."""
    told: dict[str, list[str]] = {}
    partly = frames.wholes.filter(pl.col("drawn") != "")
    for metric, how in partly.select("metric", "drawn").unique().sort("metric").iter_rows():
        told.setdefault(how, []).append(lower(frames.title(metric)))
    if not told:
        return ""
    listed = {how: names[:6] + [f"{len(names) - 6} more"] * (len(names) > 6) for how, names in told.items()}
    parts = [f"of {join(names)}: {how}" for how, names in listed.items()]
    return (
        f"The {frames.n_numbers():,} numbers of this run are more than figures can hold. Drawn are, "
        f"{'; '.join(parts)}. What the text counts, and where changes were looked for, is the whole. "
        "All numbers are a query away: dynamics query, or measurements.parquet."
    )


def gaps(frames: Frames) -> list[Gap]:
    """Checkpoints that failed or were skipped, and metrics without a number at checkpoints that did not."""
    found = [
        Gap(
            row["series"],
            theme.step(row["step"]),
            theme.shorten(f"{row['status']}: {row['note'] or 'no reason was recorded'}", 600),
        )
        for row in frames.checkpoints.filter(pl.col("status").is_in(["failed", "skipped"])).iter_rows(named=True)
    ]
    holes = frames.measurements.filter(pl.col("value").is_null())
    holes = holes.join(frames.failed().select("series", "stage", "step"), on=("series", "stage", "step"), how="anti",
                       nulls_equal=True)  # fmt: skip
    counted = holes.group_by("series", "metric").agg(
        pl.len().alias("numbers"), pl.col("step").min().alias("first"), pl.col("step").max().alias("last")
    )
    for row in counted.sort("series", "metric").iter_rows(named=True):
        what = f"{frames.title(row['metric'])}: undefined in {row['numbers']:,} places (stored as NULL)"
        found.append(Gap(row["series"], theme.interval(row["first"], row["last"]), what))
    return found


def provenance(frames: Frames) -> list[Block]:
    """Series, how to reproduce, checkpoints with their hashes, tasks, definitions, versions."""
    blocks = [_series(frames), _listings(frames), _checkpoints(frames), _reproduce(frames), _tasks(frames),
              _definitions(frames)]  # fmt: skip
    return [block for block in blocks if block.rows or block.text]


def _cells(frame: pl.DataFrame) -> list[list[str]]:
    return [[_cell(value) for value in row] for row in frame.iter_rows()]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else theme.shorten(str(value), 300)


def _series(frames: Frames) -> Block:
    names = {"series": "series", "source": "source", "family": "family", "seed": "seed", "n_layers": "layers",
             "n_heads": "heads", "d_model": "d_model", "d_vocab": "vocabulary", "n_params": "parameters"}  # fmt: skip
    known = [name for name in names if frames.series[name].drop_nulls().len()]
    places = {name: place for place, name in enumerate(by_size(frames))}
    rows = frames.series.sort(pl.col("series").replace_strict(places, default=None, return_dtype=pl.Int64))
    return Block("Series", [names[name] for name in known], _cells(rows.select(known)))


def _reproduce(frames: Frames) -> Block:
    recipe = frames.recipe()
    rows = []
    for run in frames.runs.sort("started", nulls_last=False).iter_rows(named=True):
        versions = ", ".join(f"{name} {version}" for name, version in loads(run["versions"]).items())
        versions = theme.shorten(versions, 1000)
        rows.append([_cell(run[name]) for name in ("run_id", "started", "finished", "device", "dtype")] + [versions])
    written = json.dumps(recipe, indent=2, ensure_ascii=False, default=str)
    text = theme.shorten(written, 20_000) if recipe else ""
    note = (
        "The recipe above, carried out with these versions on checkpoints with the hashes below, gives these numbers: "
        "'dynamics run RECIPE.toml'. The store, run.duckdb, holds every number; 'dynamics query DIR \"SQL\"' reads it."
    )
    return Block("Recipe, runs and versions", ["run", "started", "finished", "device", "dtype", "versions"], rows, text,
                 note if recipe else "")  # fmt: skip


def _listings(frames: Frames) -> Block:
    """What each source said of its series, and the names there that are no checkpoints."""
    rows = []
    for said in frames.listings.iter_rows(named=True):
        rows += [[said["series"], theme.plain(note)] for note in said["notes"] or ()]
        if ignored := said["ignored"]:
            names = theme.plain(", ".join(ignored))
            rows.append([said["series"], f"{len(ignored)} names were not taken for checkpoints: {names}"])
    return Block("What the sources said", ["series", "note"], rows)


def _checkpoints(frames: Frames) -> Block:
    """The audit: every checkpoint with what is published or was read of it, and all that is to be said of it."""
    names = {"series": "series", "stage": "stage", "step": "step", "tokens_seen": "tokens", "status": "status",
             "note": "remark", "weights_sha": "SHA-256 of the weights", "bytes": "bytes",
             "revision": "revision"}  # fmt: skip
    wanting = pl.col("status").is_in(["failed", "skipped"])
    remarked = (pl.col("note").fill_null("") != "") | wanting
    table = frames.checkpoints.with_columns(remarked.alias("remarked")).sort("series", "stage", "step", nulls_last=True)
    plain = table.filter(~pl.col("remarked")).height
    room = max(0, MAX_CHECKPOINTS - (table.height - plain))
    names = {name: title for name, title in names.items() if name != "stage" or (table["stage"] != "").any()}
    shown = table.filter(pl.col("remarked") | ((~pl.col("remarked")).cum_sum() <= room)).select(list(names))
    rows = [[theme.plain(value) if isinstance(value, str) else _cell(value) for value in row]
            for row in shown.iter_rows()]  # fmt: skip
    bad = table.filter(wanting)["status"].value_counts().sort("status")
    counted = ", ".join(f"{count:,} {status}" for status, count in bad.iter_rows())
    more = table.height - shown.height
    note = f"{more:,} more checkpoints, all without a remark, are in the store." if more else ""
    return Block(f"Checkpoints: {table.height:,}" + (f", of them {counted}" if counted else ""), list(names.values()),
                 rows, note=note)  # fmt: skip


def _tasks(frames: Frames) -> Block:
    shown = frames.tasks.select("task", "task_hash", "seed", "n_examples", "settings")
    return Block("Tasks", ["task", "hash", "seed", "examples", "settings"], _cells(shown))


def _definitions(frames: Frames) -> Block:
    shown = frames.metrics.select("metric", "version", "title", "unit", "axes", "source").sort("metric", "version")
    return Block("Metrics", ["metric", "version", "title", "unit", "axes", "source"], _cells(shown))
