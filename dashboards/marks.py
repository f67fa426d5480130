"""Pieces that several charts share: event bands, lines with hover, labels at the ends of lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from dashboards import models, theme
from dashboards.frames import Frames, thin
from dashboards.panels import Panel

MAX_SHADED = 3  # series of one panel whose changes are shaded; of more their midpoints are marked
LINE = 13  # pixels between two lines of labels
# The columns that a hover tells about, and their formats.
FORMATS = {"series": "", "measure": "", "place": "", "step": ",.0f", "value": ".4~g", "stderr": ".2~g", "n": ",.0f"}


def clusters(events: pl.DataFrame) -> pl.DataFrame:
    """Large events whose midpoint intervals overlap, as one band each.

    A band has `first..last` of the change, `lower..upper` of its middle, and how many curves take part.
    """
    bands: list[dict[str, Any]] = []
    rows = events.filter(pl.col("lower").is_not_null() & pl.col("upper").is_not_null()).sort("series", "lower")
    for row in rows.filter(pl.col("large")).iter_rows(named=True):
        first = row["lower"] if row["onset"] is None else row["onset"]
        last = row["upper"] if row["completion"] is None else row["completion"]
        band = bands[-1] if bands and bands[-1]["series"] == row["series"] else None
        if band is not None and row["lower"] <= band["upper"]:
            band["first"], band["last"] = min(band["first"], first), max(band["last"], last)
            band["upper"], band["curves"] = max(band["upper"], row["upper"]), band["curves"] + 1
        else:
            bands.append({"series": row["series"], "first": first, "last": last, "lower": row["lower"],
                          "upper": row["upper"], "curves": 1})  # fmt: skip
    columns = {
        "series": pl.String,
        **dict.fromkeys(("first", "last", "lower", "upper"), pl.Float64),
        "curves": pl.Int64,
    }
    return pl.DataFrame(bands, schema=columns)


def event_bands(events: pl.DataFrame, steps: Sequence[float], colour: alt.Color | None = None) -> list[alt.Chart]:
    """Shading behind curves: pale from the first onset to the last completion, darker where the midpoints may be.

    With a `colour` of series, each series' bands have its own.
    """
    bands = thin(clusters(events), ("series", "first", "last", "lower", "upper", "curves"))
    if bands.is_empty():
        return []
    tooltip = [
        alt.Tooltip("lower:Q", title="midpoint from step", format=",.0f"),
        alt.Tooltip("upper:Q", title="to step", format=",.0f"),
        alt.Tooltip("curves:Q", title="curves that change here"),
    ]
    own: dict[str, Any] = {} if colour is None else {"color": colour}
    whole = (
        alt.Chart(bands).mark_rect(style="band", opacity=0.10, clip=True)
        .encode(x=theme.step_place(steps, "first"), x2=alt.X2("last:Q"), tooltip=tooltip, **own)
    )  # fmt: skip
    middle = (
        alt.Chart(bands).mark_rect(style="band", opacity=0.16, clip=True)
        .encode(x=theme.step_place(steps, "lower"), x2=alt.X2("upper:Q"), tooltip=tooltip, **own)
    )  # fmt: skip
    return [whole, middle]


def failures(frames: Frames, series: str | None = None) -> list[alt.Chart]:
    """A cross on the step axis for each checkpoint that could not be measured; its note is the tooltip."""
    failed = frames.failed()
    failed = failed if series is None else failed.filter(pl.col("series") == series)
    if failed.is_empty():
        return []
    shown = failed.select("series", "step", note_text())
    return [
        alt.Chart(shown)
        .mark_point(style="missing", shape="cross", angle=45, size=50, filled=True, clip=False, yOffset=-6)
        .encode(
            x=theme.step_place(frames.steps()), y=alt.YValue("height"),
            tooltip=[alt.Tooltip("series:N"), alt.Tooltip("step:Q", title="failed at step", format=","),
                     alt.Tooltip("note:N")],
        )
    ]  # fmt: skip


def note_text() -> pl.Expr:
    """The notes of checkpoints, short enough for a hover."""
    return pl.col("note").map_elements(lambda note: theme.shorten(note, 200), return_dtype=pl.String)


def tooltip(frame: pl.DataFrame, title: str) -> dict[str, str]:
    """What a hover says, as titles and formats by column: where, step, value, standard error, n; what the frame has."""
    titles = {"place": "where", "value": title, "stderr": "standard error"}
    kept = [name for name in FORMATS if name in frame.columns and frame[name].drop_nulls().len()]
    return {name: titles.get(name, name) for name in kept if name != "place" or (frame["place"] != "").any()}


def hover_points(base: alt.Chart, name: str, hints: dict[str, str], *more: alt.Parameter) -> list[alt.Chart]:
    """A point that appears on the measurement nearest to the pointer and says what it is; `more` selections go with it.
    """
    nearest = alt.selection_point(
        name=name, on="pointermove", nearest=True, clear="pointerout", fields=["curve", "step"], empty=False
    )
    # Vega-Lite's own tooltip of a nearest point reads text columns from the wrong place, so this one is spelt out:
    # the pointer is over a cell around the point, whose datum is the point, whose datum is the row.
    row = "(datum.datum || datum)"
    parts = []
    for column, title in hints.items():
        value = f"{row}[{theme.literal(column)}]"
        shown = f"format({value}, {theme.literal(FORMATS[column])})" if FORMATS[column] else value
        parts.append(f"{theme.literal(title)}: isValid({value}) ? {shown} : 'not measured'")
    said = alt.TooltipValue(alt.ExprRef(f"{{{', '.join(parts)}}}"))
    # The points that feel the pointer never change: if one of them were the point that is seen, every move would
    # place all cells anew, a third of a second for ten thousand of them.
    felt = base.mark_point(size=46, clip=True).encode(opacity=alt.OpacityValue(0), tooltip=said)
    seen = base.transform_filter(nearest).mark_point(filled=True, size=46, clip=True, opacity=1, tooltip=None)
    return [felt.add_params(nearest, *more), seen]


def line_names(frame: pl.DataFrame, names: list[str], scale: alt.Scale) -> list[alt.Chart]:
    """Each line's name beside its last value, moved apart where names would cover each other."""
    ends = frame.filter(pl.col("value").is_not_null()).sort("step").group_by("place").last().sort("place")
    if ends.is_empty():
        return []
    log = scale.to_dict()["type"] == "log"
    low, high = (math.log(end) if log else end for end in scale.to_dict()["domain"])
    values = [math.log(value) if log else value for value in ends["value"].to_list()]
    gap = (high - low) * LINE / theme.HEIGHT
    places = theme.spread(values, gap, (low, high - 0.6 * gap))
    ends = ends.with_columns(pl.Series("at", [math.exp(place) if log else place for place in places], pl.Float64))
    text = alt.Chart(thin(ends, ("place", "at", "curve"))).mark_text(align="left", dx=6, fontSize=11, fontWeight=600)
    colour = alt.Color("place:N", scale=alt.Scale(domain=names), legend=None)
    return [text.encode(x=alt.XValue("width"), y=alt.Y("at:Q", scale=scale), text=alt.Text("place:N"), color=colour)]


def series_panel(frames: Frames, metrics: tuple[str, ...], shown: alt.Parameter, **words: Any) -> Panel:
    """One panel of metrics without axes, one line a series; `shown` is what the legend chooses.

    `words` are its `width` and `height`, its `title`, `y` title and `x` title, and whether it is the `first` of the
    figure, which then holds `shown` for all.
    """
    frame = thin(frames.curves(*metrics), ("series", "place", "curve", "step", "value", "stderr", "n"))
    names = models.order(frames)
    colour = models.colour(names)
    title = words.get("x", "training step")
    x = theme.step_x(frames.steps(), title=title, labels=title is not None)
    y = alt.Y("value:Q", title=words.get("y"), scale=theme.value_scale(frame["value"]), axis=theme.value_axis())
    marked = theme.thickness(2 if len(names) <= models.COLOURS else 1.4)
    lines = alt.Chart(frame).mark_line(clip=True).encode(
        x=x, y=y, color=colour, detail=alt.Detail("curve:N"), strokeWidth=marked, opacity=models.strength(shown)
    )  # fmt: skip
    named = words.get("title") or words.get("y") or metrics[0]
    base, hints = alt.Chart(frame).encode(x=x, y=y, color=colour), tooltip(frame, named)
    points = hover_points(base, f"near_{metrics[0]}", hints, *([shown] if words.get("first") else []))
    events = frames.events_of(*metrics)
    marks = midpoints(events, frames.steps(), colour) if len(names) > MAX_SHADED else event_bands(
        events, frames.steps(), colour if len(names) > 1 else None)  # fmt: skip
    layers = [*marks, lines, *points, *failures(frames)]
    return Panel(layer=layers, **{name: words[name] for name in ("width", "height", "title") if words.get(name)})


def marked(frames: Frames) -> str:
    """How a panel of series shows their changes, for its caption."""
    many = len(frames.series_names())
    told = "Shaded: from onset to completion of the detected changes, darker the 95 % interval of their midpoints."
    told = told if many <= MAX_SHADED else (
        "Triangles on the axis: midpoints of the large changes, pointing the way the curve went.")  # fmt: skip
    return told + " Click in the legend to show one series alone." * (many > 1)


def midpoints(events: pl.DataFrame, steps: Sequence[float], colour: alt.Color) -> list[alt.Chart]:
    """A triangle on the step axis where the middle of each large change is: bands of many series would be mud."""
    rows = events.filter(pl.col("large") & pl.col("midpoint").is_not_null() & (pl.col("kind") != "spike"))
    if rows.is_empty():
        return []
    shape = alt.Shape("direction:N", legend=None, scale=alt.Scale(
        domain=["up", "down"], range=["triangle-up", "triangle-down"]))  # fmt: skip
    hints = [alt.Tooltip("series:N"), alt.Tooltip("midpoint:Q", title="midpoint at step", format=",.0f")]
    base = alt.Chart(thin(rows, ("series", "direction", "midpoint")))
    return [
        base.mark_point(filled=True, size=40, clip=True, yOffset=-5, opacity=0.8).encode(
            x=theme.step_place(steps, "midpoint"), y=alt.YValue("height"), color=colour, shape=shape, tooltip=hints
        )
    ]
