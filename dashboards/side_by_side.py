"""Several models on one axis: by step, by tokens seen, by loss; seeds of one model as a band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl

from dashboards import models, theme
from dashboards.charts import Figure
from dashboards.frames import thin
from dashboards.gather import Gathered
from dashboards.marks import hover_points, tooltip
from dashboards.panels import Panel, grid
from dashboards.theme import Drawing

COLUMNS = 2
MAX_PANELS = 12
LOSSES = ("loss", "test_loss")
OF = " · "  # between a metric and its label
HEADS = "the largest of the heads at each checkpoint, for heads have no identity across models"


@dataclass(frozen=True)
class Axis:
    """What stands across: the column of numbers, its name on the axis, and the chart's name and title."""

    name: str
    across: str
    chart: str
    title: str


STEP = Axis("step", "training step", "models_by_step", "Models side by side, by training step")
TOKENS = Axis("tokens_seen", "tokens seen", "models_by_tokens", "Models side by side, by tokens seen")
LOSS = Axis("at_loss", "loss", "models_by_loss", "Models side by side, by loss")


def figures(
    gathered: Gathered, axes: tuple[Axis, ...] = (STEP, TOKENS, LOSS), metrics: tuple[str, ...] | None = None
) -> list[Figure]:
    """One figure for each axis that at least one series has, with a panel for each metric or, if given, for `metrics`.
    """
    rows = curves(gathered)
    rows = rows if metrics is None else rows.filter(pl.col("metric").str.split(OF).list.first().is_in(metrics))
    drawn = []
    for axis in axes:
        known = rows.filter(pl.col(axis.name).is_not_null())
        known = known if axis is STEP else known.filter(pl.col(axis.name) > 0)
        known = known.filter(pl.col("metric") != pl.col("loss_name")) if axis is LOSS else known
        names = _order(gathered, known)
        if names:
            drawing = _drawing(gathered, known, names[:MAX_PANELS], axis)
            left = rows["series"].n_unique() - known["series"].n_unique()
            without = f" {left} series without it are left out." if left else ""
            told = drawing.properties(description=_caption(gathered, names, axis) + without)
            metrics = tuple(dict.fromkeys(_metric(name) for name in names[:MAX_PANELS]))
            drawn.append(Figure(axis.chart, axis.title, told, metrics))
    return drawn


def curves(gathered: Gathered) -> pl.DataFrame:
    """One curve for each series and metric, with tokens and loss at each step: the largest head where there are heads.

    Metrics along layers or an index are left out: what stands there differs between models. So are those along
    labels, unless all series are seeds of one model.
    """
    frames = gathered.frames
    drawn = ("", "layer,head", "label") if len(gathered.group_names()) == 1 else ("", "layer,head")
    kept = [name for name in frames.names() if (frames.about(name).get("axes") or "") in drawn]
    rows = frames.curves(*kept).filter(pl.col("value").is_not_null())
    rows = rows.with_columns(pl.concat_str(["metric", "label"], separator=OF, ignore_nulls=True).alias("metric"))
    reduced = rows.group_by("series", "metric", "step").agg(
        pl.col("value").max(), pl.col("tokens_seen").max(), pl.col("place").sort_by("value").last(),
    )  # fmt: skip
    loss_name = next((name for name in LOSSES if name in kept), "")
    loss = reduced.filter(pl.col("metric") == loss_name).select("series", "step", pl.col("value").alias("at_loss"))
    group = pl.col("series").replace_strict(gathered.groups, return_dtype=pl.String)
    named = pl.concat_str(["series", "metric"], separator="|").alias("curve")
    joined = reduced.join(loss, on=("series", "step"), how="left", nulls_equal=True)
    return joined.with_columns(group.alias("group"), named, pl.lit(loss_name).alias("loss_name")).sort(
        "metric", "series", "step"
    )


def _order(gathered: Gathered, rows: pl.DataFrame) -> list[str]:
    """The metrics with more than one number: those that most series have first, then those with most large changes."""
    counted = rows.group_by("metric").agg(pl.col("series").n_unique(), pl.len().alias("numbers"))
    have = dict(counted.filter(pl.col("numbers") > 1).select("metric", "series").iter_rows())
    rank = {name: place for place, name in enumerate(gathered.frames.names())}
    return sorted(have, key=lambda name: (-have[name], rank[_metric(name)], name))


def _metric(name: str) -> str:
    return name.partition(OF)[0]


def _drawing(gathered: Gathered, rows: pl.DataFrame, names: list[str], axis: Axis) -> Drawing:
    groups = gathered.group_names()
    chosen = alt.selection_point(name=f"shown_{axis.name}", fields=["group"], bind="legend", toggle="true")
    single = len(names) == 1
    width = theme.WIDTH if single else (theme.WIDTH - 110) // COLUMNS
    panels = []
    for number, name in enumerate(names):
        part = rows.filter(pl.col("metric") == name)
        part = part.with_columns(
            pl.col("group").replace_strict({g: str(i // theme.COLOURS) for i, g in enumerate(groups)}).alias("round")
        )
        words = {
            "width": width,
            "title": _title(gathered, name),
            "unit": gathered.frames.unit(_metric(name)),
            "hover": f"near_{axis.name}_{number}",
            "chosen": chosen,
            "first": number == 0,
        }
        panels.append(_panel(gathered, part, axis, words))
    drawing = grid(panels, COLUMNS)
    shape = {"width": theme.WIDTH, "columns": 1 if single else COLUMNS}
    parameters = theme.parameters(gathered.frames.steps()) if axis is STEP else []
    return drawing.add_params(*parameters).properties(usermeta=shape)


def _title(gathered: Gathered, metric: str) -> str:
    name, of, label = metric.partition(OF)
    heads = gathered.frames.about(name).get("axes") == "layer,head"
    return gathered.frames.title(name) + of + label + (", largest head" if heads else "")


def _x(gathered: Gathered, axis: Axis, rows: pl.DataFrame) -> alt.X:
    if axis is STEP:
        return theme.step_x(gathered.frames.steps())
    if axis is TOKENS:
        scale = theme.value_scale(rows[axis.name], log=True, nice=False)
        shown = alt.Axis(labelExpr=theme.STEP_LABEL, grid=False, tickCount=6)
        return alt.X(f"{axis.name}:Q", title=axis.across, scale=scale, axis=shown)
    scale = theme.value_scale(rows[axis.name], reverse=True, nice=False)
    return alt.X(f"{axis.name}:Q", title="loss (training goes to the right)", scale=scale, axis=alt.Axis(grid=False))


def _panel(gathered: Gathered, rows: pl.DataFrame, axis: Axis, words: dict[str, Any]) -> Panel:
    groups, x = gathered.group_names(), _x(gathered, axis, rows)
    legend = alt.Legend(title=None, orient="top", columns=3, symbolType="stroke", symbolOpacity=1, labelLimit=240)
    colour = alt.Color("group:N", scale=alt.Scale(domain=groups), legend=legend if len(groups) > 1 else None)
    y = alt.Y("value:Q", title=words["unit"], scale=theme.value_scale(rows["value"]), axis=theme.value_axis())
    shown = thin(rows, tuple(dict.fromkeys(("series", "group", "round", "place", "curve", "step", axis.name, "value"))))
    dash = alt.StrokeDash(
        "round:N", legend=None, scale=alt.Scale(domain=["0", "1", "2"], range=[[1, 0], [5, 3], [2, 2]])
    )
    strength = models.strength(words["chosen"], 0.9)
    lines = alt.Chart(shown).mark_line(clip=True).encode(
        x=x, y=y, color=colour, strokeDash=dash, opacity=strength, detail=alt.Detail("curve:N"),
        order=alt.Order("step:Q"),
        strokeWidth=alt.StrokeWidthValue(2 if len(groups) == len(gathered.groups) else 1),
    )  # fmt: skip
    base, hints = alt.Chart(shown).encode(x=x, y=y, color=colour), tooltip(shown, words["title"])
    points = hover_points(base, words["hover"], hints, *([words["chosen"]] if words["first"] else []))  # one for all
    bands = _bands(gathered, rows, axis, (x, y, colour, words["chosen"]))
    return Panel(layer=[*bands, lines, *points], width=words["width"], height=190, title=words["title"])


def _bands(gathered: Gathered, rows: pl.DataFrame, axis: Axis, drawn: tuple[Any, ...]) -> list[alt.Chart]:
    """From the lowest to the highest seed at the steps that all seeds of a model have. No mean: see `consensus`."""
    if axis is LOSS:
        return []  # seeds are nowhere at the same loss
    sizes = {group: len(gathered.seeds(group)) for group in gathered.group_names()}
    many = pl.col("group").replace_strict(sizes, return_dtype=pl.Int64)
    spans = rows.group_by("group", axis.name).agg(
        pl.col("value").min().alias("value"), pl.col("value").max().alias("top"), pl.col("series").n_unique().alias("n")
    )  # fmt: skip
    spans = spans.filter((many > 1) & (pl.col("n") == many)).sort("group", axis.name)
    if spans.is_empty():
        return []
    x, y, colour, chosen = drawn
    strength = models.strength(chosen, 0.22, 0.02)
    area = alt.Chart(thin(spans, ("group", axis.name, "value", "top"))).mark_area(clip=True)
    return [area.encode(x=x, y=y, y2=alt.Y2("top:Q"), color=colour, opacity=strength)]


def _caption(gathered: Gathered, names: list[str], axis: Axis) -> str:
    frames = gathered.frames
    told = ["One line a series."]
    if any(len(gathered.seeds(group)) > 1 for group in gathered.group_names()):
        band = "" if axis is LOSS else "; the band reaches from the lowest to the highest at each step that all have"
        told.append(f"Series that differ in their seed alone share a colour{band}.")
    if any(frames.about(name).get("axes") == "layer,head" for name in names[:MAX_PANELS]):
        told.append(f"Metrics of heads: {HEADS}.")
    if axis is TOKENS:
        told.append("The first checkpoints without a token are left out.")
    if axis is LOSS:
        told.append("Each point is a checkpoint at the loss that its model had there, so that models are compared at "
                    "equal loss instead of equal time.")  # fmt: skip
    if len(names) > MAX_PANELS:
        told.append(f"{MAX_PANELS} of {len(names)} metrics are drawn: those that most series have.")
    if len(gathered.group_names()) > 1:
        told.append("Click in the legend to show or hide a model.")
    return " ".join(told)
