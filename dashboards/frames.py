"""What charts and sentences are made from: the tables of a run, made ready for showing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from dashboards.places import counted, named, without_seed
from dashboards.reading import REDUCED, read_tables
from dashboards.stages import laid_end_to_end
from dashboards.theme import shorten
from dynamics.store import SCHEMA, finite

LARGE = 0.1  # of a metric's range: changes below it are told, but not in colour
PLACE = ("layer", "head", "index", "label")
CURVE = ("series", "metric", *PLACE)


@dataclass(frozen=True, eq=False)
class Frames:
    """The tables of a run. `measurements` holds one definition of each metric, and NULL where a checkpoint failed.

    `measurements` and `events` have the extra columns `place` ("L1H2", "frequency 14", or "") and `curve`, which
    names series, metric and place at once; `events` also `share`, its size as a share of the metric's range, and
    `large`. Of a long store `measurements` are those that are drawn, and `bands`, `slices` and `wholes` tell of the
    others: see `dashboards.reading`.
    """

    series: pl.DataFrame
    checkpoints: pl.DataFrame
    metrics: pl.DataFrame
    tasks: pl.DataFrame
    measurements: pl.DataFrame
    events: pl.DataFrame
    runs: pl.DataFrame
    listings: pl.DataFrame
    bands: pl.DataFrame
    slices: pl.DataFrame
    wholes: pl.DataFrame

    def names(self, axes: str | None = None) -> list[str]:
        """The metrics that have at least one number, those with most large events first.

        With `axes` only those that have these axes ("layer,head", or "" for one number a checkpoint).
        """
        measured = self.measurements.filter(pl.col("value").is_not_null())["metric"].unique().to_list()
        events = self.events.filter(pl.col("large"))["metric"].to_list()
        kept = [name for name in measured if axes is None or (self.about(name).get("axes") or "") == axes]
        return sorted(kept, key=lambda name: (-events.count(name), name))

    def about(self, metric: str) -> dict[str, Any]:
        """The metric's row: unit, bounds, axes, title, source."""
        rows = self.metrics.filter(pl.col("metric") == metric).sort("version")
        return rows.row(-1, named=True) if rows.height else {"metric": metric, "axes": "", "unit": None}

    def title(self, metric: str) -> str:
        """The metric's title, made readable from its name where the store gives none."""
        title = shorten(self.about(metric).get("title") or metric.replace("_", " "), 140)
        return title[:1].upper() + title[1:]

    def question(self, metric: str) -> str:
        """The question that it answers, or nothing where the store has none."""
        return shorten(self.about(metric).get("question") or "", 200)

    def unit(self, metric: str) -> str | None:
        """The metric's unit as the title of an axis, where it has one."""
        unit = self.about(metric).get("unit")
        return shorten(unit, 30) if unit else None

    def is_examined(self, metric: str) -> bool:
        """Whether changes were looked for in it: not along an index, for that is a map, unless someone asked."""
        return "index" not in (self.about(metric).get("axes") or "") or metric in self.events["metric"]

    def examined(self, series: str | None = None) -> pl.DataFrame:
        """The numbers in which changes were looked for."""
        names = [metric for metric in self.measurements["metric"].unique().to_list() if self.is_examined(metric)]
        rows = self.measurements.filter(pl.col("metric").is_in(names) & pl.col("value").is_not_null())
        return rows if series is None else rows.filter(pl.col("series") == series)

    def curves(self, *metrics: str) -> pl.DataFrame:
        """The measurements of these metrics."""
        return self.measurements.filter(pl.col("metric").is_in(metrics))

    def everywhere(self, *metrics: str) -> pl.DataFrame:
        """All places of these metrics: at every step or, of a metric too long for that, at a few."""
        few = self.slices.filter(pl.col("metric").is_in(metrics))
        return pl.concat([self.curves(*metrics).join(few, on="metric", how="anti"), few], how="diagonal")

    def n_curves(self, metric: str, series: str | None = None) -> int:
        """How many curves a metric has, of all series or of one, be they drawn or not."""
        mine = _of(metric, series)
        read = self.measurements.filter(mine).join(self.wholes, on=("series", "metric"), how="anti")
        return int(self.wholes.filter(mine)["curves"].sum()) + read["curve"].n_unique()

    def n_numbers(self) -> int:
        """How many numbers the store has of what belongs together."""
        read = self.measurements.join(self.wholes, on=("series", "metric"), how="anti")
        return int(self.wholes["numbers"].sum()) + read["value"].drop_nulls().len()

    def n_steps(self, rows: pl.DataFrame) -> int:
        """At how many steps these measurements were made, be they drawn or not."""
        long = self.wholes.join(rows, on=("series", "metric"), how="semi")["steps"].max()
        return max(rows["step"].n_unique(), int(long or 0))  # pyright: ignore[reportArgumentType]

    def ends(self, metric: str, series: str | None = None) -> tuple[float, float]:
        """The lowest and the highest number of a metric that has one, be they drawn or not."""
        mine = _of(metric, series)
        whole, read = self.wholes.filter(mine), self.measurements.filter(mine)["value"]
        values = [value for value in (read.min(), read.max(), whole["low"].min(), whole["high"].max())
                  if value is not None]  # fmt: skip
        return min(values), max(values)  # pyright: ignore[reportArgumentType, reportReturnType]

    def events_of(self, *metrics: str) -> pl.DataFrame:
        """The events found in these metrics."""
        return self.events.filter(pl.col("metric").is_in(metrics))

    def steps(self, series: str | None = None) -> list[int]:
        """The steps that were asked for, of one series or of all."""
        rows = self.checkpoints if series is None else self.checkpoints.filter(pl.col("series") == series)
        source = rows if rows.height else self.measurements
        return source["step"].drop_nulls().unique().sort().to_list()

    def failed(self) -> pl.DataFrame:
        """The checkpoints that could not be measured."""
        return self.checkpoints.filter(pl.col("status") == "failed")

    def series_names(self) -> list[str]:
        """Every series: those with most events first, a control behind what it controls; seeds in order."""
        named = {*self.series["series"].to_list(), *self.measurements["series"].unique().to_list()}
        events = self.events["series"].to_list()
        most: dict[str, int] = {}  # of all seeds of a model, which stay together
        for name in named:
            most[without_seed(name)] = max(events.count(name), most.get(without_seed(name), 0))
        return sorted(named, key=lambda name: (-most[without_seed(name)], without_seed(name), counted(name)))

    def tokens_per_step(self) -> float | None:
        """Tokens seen in one training step, where it is the same for all checkpoints of all series."""
        rows = self.checkpoints.filter(pl.col("step") > 0)
        ratios = (rows["tokens_seen"] / rows["step"]).to_list()
        if not ratios or None in ratios or min(ratios) <= 0 or max(ratios) > 1.001 * min(ratios):
            return None
        return float(ratios[-1])

    def recipe_title(self) -> str:
        """The title that the recipe gives, or an empty one."""
        return str(self.recipe().get("title") or "")

    def recipe(self) -> dict[str, Any]:
        """The recipe of the latest run that has one."""
        for text in self.runs.sort("started", nulls_last=False)["recipe"].reverse().to_list():
            value = loads(text)
            if value:
                return value
        return {}


def _of(metric: str, series: str | None) -> pl.Expr:
    mine = pl.col("metric") == metric
    return mine if series is None else mine & (pl.col("series") == series)


def read_frames(folder: str | Path) -> Frames:
    """Read a run's store."""
    return prepare(read_tables(folder))


def prepare(tables: dict[str, pl.DataFrame]) -> Frames:
    """Make the raw tables ready for showing; those of a store that was read whole may lack what is only in others."""
    tables = {**{name: pl.DataFrame(schema=columns) for name, columns in REDUCED.items()}, **tables}
    shown, tables = display_names(tables), laid_end_to_end(tables)
    renamed = {
        name: frame.with_columns(pl.col("series").replace(shown)) if "series" in frame.columns else frame
        for name, frame in tables.items()
    }
    # Unequal sequences may come back in any order from the store: charts and sentences must not depend on it.
    tokens = renamed["checkpoints"].select("series", "stage", "step", "tokens_seen").unique(("series", "stage", "step"))
    measurements = _latest(finite(renamed["measurements"])).join(
        tokens, on=("series", "stage", "step"), how="left", nulls_equal=True
    )
    measurements = _with_gaps(measurements, renamed["checkpoints"])
    events = named(_complete(finite(renamed["events"])), renamed["metrics"])
    return Frames(
        series=renamed["series"],
        checkpoints=renamed["checkpoints"].sort("series", "step"),
        metrics=renamed["metrics"],
        tasks=renamed["tasks"].unique("task_hash", maintain_order=True),
        measurements=named(measurements, renamed["metrics"]).sort("series", "metric", *PLACE, "step"),
        events=_sized(events, renamed | {"measurements": measurements}).sort("series", "metric", "midpoint"),
        runs=renamed["runs"],
        listings=renamed["listings"],
        bands=renamed["bands"],
        slices=named(finite(renamed["slices"]), renamed["metrics"]).sort("series", "metric", *PLACE, "step"),
        wholes=renamed["wholes"],
    )


def display_names(tables: dict[str, pl.DataFrame]) -> dict[str, str]:
    """Short, distinct names for series: a name of ten thousand letters is data too."""
    names = pl.concat([tables[table]["series"] for table in ("series", "checkpoints", "measurements", "events")])
    shown: dict[str, str] = {}
    for name in names.drop_nulls().unique(maintain_order=True).to_list():
        short = shorten(name)
        shown[name] = short if short not in shown.values() else f"{short} #{len(shown) + 1}"
    return shown


def _latest(measurements: pl.DataFrame) -> pl.DataFrame:
    """One number for each curve and step: that of the newest definition, on the task that most numbers come from."""
    if measurements.is_empty():
        return measurements
    newest = measurements.filter(pl.col("version").fill_null(0) == pl.col("version").fill_null(0).max().over("metric"))
    # A metric that reads the checkpoint before has other inputs at every step: what it was measured on comes first.
    newest = newest.with_columns(pl.col("task_hash").str.split("+").list.first().alias("_on"))
    counted = newest.with_columns(pl.len().over("series", "metric", "_on").alias("_n"))
    ranked = counted.sort("_n", "_on", "task_hash", descending=True, nulls_last=True)
    chosen = ranked.filter(pl.col("_on").eq_missing(pl.col("_on").first().over("series", "metric")))
    return chosen.drop("_n", "_on").unique(("stage", "step", *CURVE), keep="last", maintain_order=True)


def _with_gaps(measurements: pl.DataFrame, checkpoints: pl.DataFrame) -> pl.DataFrame:
    """Add a NULL to every curve at each failed checkpoint, so that no line is drawn across it."""
    failed = checkpoints.filter(pl.col("status") == "failed").select("series", "stage", "step", "tokens_seen")
    if failed.is_empty() or measurements.is_empty():
        return measurements
    curves = measurements.select(CURVE).unique()
    holes = curves.join(failed, on="series", how="inner")
    holes = holes.join(measurements, on=(*CURVE, "stage", "step"), how="anti", nulls_equal=True)
    return pl.concat([measurements, holes], how="diagonal")


def _complete(events: pl.DataFrame) -> pl.DataFrame:
    missing = [pl.lit(None, kind).alias(name) for name, kind in SCHEMA["events"].items() if name not in events.columns]
    return events.with_columns(missing)


def _sized(events: pl.DataFrame, tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """How large each event is: `share` of its metric's range, and whether it is `large`.

    The range is that between the metric's bounds or, without them, that of its values in this run.
    """
    value = pl.col("value")
    read = tables["measurements"].group_by("metric").agg(value.min().alias("low"), value.max().alias("high"))
    ends = pl.concat([read, tables["wholes"].select("metric", "low", "high")])
    seen = ends.group_by("metric").agg((pl.col("high").max() - pl.col("low").min()).alias("_seen"))
    bounds = tables["metrics"].group_by("metric").agg((pl.col("upper") - pl.col("lower")).max().alias("_bounds"))
    size = (
        pl.when(pl.col("kind") == "transition").then((pl.col("after") - pl.col("before")).abs())
        .otherwise(pl.col("magnitude").abs()).fill_null(pl.col("magnitude").abs())
    )  # fmt: skip
    share = size / pl.coalesce("_bounds", "_seen")
    sized = events.join(seen, on="metric", how="left").join(bounds, on="metric", how="left")
    sized = sized.with_columns(pl.when(share.is_finite()).then(share).alias("share")).drop("_seen", "_bounds")
    return sized.with_columns((pl.col("share") >= LARGE).fill_null(value=True).alias("large"))


def loads(text: str | None) -> dict[str, Any]:
    """The JSON object in a column, or an empty one: a store may have been written by anyone."""
    try:
        value = json.loads(text or "{}")
    except (TypeError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def thin(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The columns that a picture needs, with numbers to five digits: a report is not an archive."""
    kept = frame.select(name for name in columns if name in frame.columns)
    reals = [name for name, kind in kept.schema.items() if kind == pl.Float64]
    return kept.with_columns(pl.col(reals).round_sig_figs(5)) if reals else kept
