"""Panels of curves, one a series: those with a detected change in colour and named, the others grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import polars as pl

from dashboards import theme
from dashboards.frames import Frames, thin
from dashboards.marks import event_bands, failures, hover_points, line_names, tooltip
from dashboards.panels import Panel, grid
from dashboards.places import counted

MAX_LINES = 96  # of one panel; where there are more, a band of quantiles tells of all
MAX_POINTS = 8000  # of the lines of one panel: each feels the pointer
MAX_NAMED = theme.COLOURS
MAX_MOVING = 5  # coloured where no changes were looked for
COLUMNS = 2
SMALL = "a tenth of the metric's range"


@dataclass(frozen=True)
class Style:
    """What one line is called, which places to colour (None: those that have events), and the scale of y."""

    noun: str
    named: Sequence[str] | None = None
    log: bool = False


def trajectories(frames: Frames, metric: str, style: Style) -> alt.TopLevelMixin:
    """One panel a series, one line a curve."""
    names = [name for name in frames.series_names() if (frames.curves(metric)["series"] == name).any()]
    single = len(names) == 1
    width = theme.WIDTH if single else (theme.WIDTH - 110) // COLUMNS
    panels = [_panel(frames, metric, name, style, width) for name in names]
    drawing = grid(panels, COLUMNS, row=94, column=96)  # titles of two lines above, names of curves at the right
    shape = {"width": theme.WIDTH, "columns": 1 if single else COLUMNS}
    return drawing.add_params(*theme.parameters(frames.steps())).properties(
        description=_caption(frames, metric, style), usermeta=shape
    )


def _caption(frames: Frames, metric: str, style: Style) -> str:
    noun, named = style.noun, style.named
    sentences = [f"One line {'an' if noun[0] in 'aeiou' else 'a'} {noun}."]
    events = frames.events_of(metric).filter(pl.col("place") != "")
    if named is None and not frames.is_examined(metric):
        sentences.append(
            f"The {MAX_MOVING} that move most are coloured and named. Changes of single {_plural(noun)} are looked for "
            f"only when asked: dynamics detect DIR --metric {theme.shorten(metric)}."
        )
    elif named is None and events.is_empty():
        sentences.append(f"No {noun} has a detected change: all are grey.")
    elif named is None and not events["large"].any():
        sentences.append(f"All are grey: the detected changes are smaller than {SMALL}.")
    elif named is None:
        who = f"Each {noun} with a detected change of at least {SMALL} is"
        if max(len(_changed(frames, metric, series)) for series in frames.series_names()) > MAX_NAMED:
            who = f"In each panel the {MAX_NAMED} with the largest detected changes are"
        sentences.append(f"{who} coloured and named; the others are grey.")
        sentences.append(
            "Shaded: pale from the first onset to the last completion of these changes, darker where their midpoints "
            "lie with 95 % confidence."
        )
    counts = [(frames.n_curves(metric, part["series"][0]), most_lines(part))
              for part in frames.curves(metric).partition_by("series")]  # fmt: skip
    curves, drawn = max(counts, default=(0, MAX_LINES))
    if curves > drawn:
        sentences.append(
            f"A panel has up to {curves:,} curves; {drawn} are drawn (those named, then those that move most), over a "
            "band from the 5th to the 95th percentile of all. All of them are in measurements.parquet."
        )
    return " ".join(sentences)


def _domain(frames: Frames, metric: str, *, log: bool) -> tuple[float, float]:
    """One y axis for all series. A bounded metric shows at least a fifth of its range: noise must look like noise."""
    about = frames.about(metric)
    if log:
        positive = [value for value in frames.curves(metric)["value"].drop_nulls() if value > 0]
        return min(positive, default=0.1) / 1.5, max(positive, default=1.0) * 1.5
    low, high = frames.ends(metric)
    low = min(low, 0.0)
    lower, upper = about.get("lower"), about.get("upper")
    if lower is not None and upper is not None:
        high = max(high, lower + 0.2 * (upper - lower))
    return low, high + 0.03 * (high - low) if high > low else low + 1.0


def _changed(frames: Frames, metric: str, series: str) -> list[str]:
    events = frames.events_of(metric).filter((pl.col("series") == series) & (pl.col("place") != "") & pl.col("large"))
    return events.sort("share", descending=True, nulls_last=True)["place"].unique(maintain_order=True).to_list()


def _panel(frames: Frames, metric: str, series: str, style: Style, width: int) -> Panel:
    rows = frames.curves(metric).filter(pl.col("series") == series)
    rows = rows.filter(pl.col("value").is_null() | (pl.col("value") > 0)) if style.log else rows
    changed = _changed(frames, metric, series) if frames.is_examined(metric) else None
    coloured = _coloured(rows, style, changed)
    shown = _limit(rows, coloured)
    frame = thin(shown, ("series", "place", "curve", "step", "value", "stderr", "n"))
    frame = frame.with_columns(pl.col("place").is_in(coloured).alias("named"))
    domain = _domain(frames, metric, log=style.log)
    scale = alt.Scale(type="log" if style.log else "linear", domain=list(domain), nice=False)
    x = theme.step_x(frames.steps())
    y = alt.Y(
        "value:Q",
        title=frames.unit(metric),
        scale=scale,
        axis=theme.value_axis(domain if style.log else None),
    )
    layers: list[alt.Chart] = event_bands(frames.events_of(metric).filter(pl.col("series") == series), frames.steps())
    if frames.n_curves(metric, series) > shown["place"].n_unique():
        layers.append(_band(frames, rows, x, y))
    layers += _lines(frame, coloured, x, y)
    layers += line_names(frame.filter(pl.col("place").is_in(coloured)), coloured, scale)
    number = frames.series_names().index(series)
    hints = tooltip(frame, frames.title(metric))
    layers += hover_points(alt.Chart(frame).encode(x=x, y=y), f"near_{metric}_{number}", hints)
    layers += failures(frames, series)
    found = _found(frames, metric, series, style.noun)
    title = alt.TitleParams(series, subtitle=found, subtitleFontSize=11)
    return Panel(layer=layers, width=width, height=theme.HEIGHT, title=title)


def _found(frames: Frames, metric: str, series: str, noun: str) -> str:
    """The line below a panel's title: how many curves change, and how many of them by much."""
    if not frames.is_examined(metric):
        return "not examined for changes"
    total = frames.n_curves(metric, series)
    changed = frames.events_of(metric).filter((pl.col("series") == series) & (pl.col("place") != ""))
    if changed.is_empty():
        return f"no {noun} changes"
    every, large = changed["place"].n_unique(), changed.filter(pl.col("large"))["place"].n_unique()
    counted = f"{every} of {total:,} {_plural(noun)} {'changes' if every == 1 else 'change'}"
    return counted if large == every else f"{counted}, {large or 'none'} of them by much"


def _coloured(rows: pl.DataFrame, style: Style, changed: list[str] | None) -> list[str]:
    """The places to colour, in the order in which people count: one place has one colour in as many figures as can be.
    """
    if style.named is not None:
        first = list(style.named)[:MAX_NAMED]
    else:
        first = changed[:MAX_NAMED] if changed is not None else widest(rows, moving=True)[:MAX_MOVING]
    return sorted(first, key=counted)


def _lines(frame: pl.DataFrame, coloured: list[str], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """The grey lines and the coloured ones, of one data set with the points that feel the pointer."""
    base, lines = alt.Chart(frame), []
    if not frame["named"].all():
        marked = theme.thickness(1, chosen=3.5)
        quiet = base.transform_filter("!datum.named").mark_line(style="quiet", clip=True)
        lines.append(quiet.encode(x=x, y=y, detail=alt.Detail("curve:N"), strokeWidth=marked))
    if coloured:
        colour = alt.Color("place:N", scale=alt.Scale(domain=coloured), legend=None)
        marked = theme.thickness(2)
        loud = base.transform_filter("datum.named").mark_line(clip=True)
        lines.append(loud.encode(x=x, y=y, detail=alt.Detail("curve:N"), color=colour, strokeWidth=marked))
    return lines


def _limit(rows: pl.DataFrame, first: list[str]) -> pl.DataFrame:
    """The curves to draw one by one: all or, when there are too many, these first and then those that move most."""
    if rows["place"].n_unique() <= (most := most_lines(rows)):
        return rows
    moving = [place for place in widest(rows) if place not in first]
    return rows.filter(pl.col("place").is_in([*first, *moving][:most]))


def most_lines(rows: pl.DataFrame) -> int:
    """How many of these curves are drawn one by one: fewer where each has many points."""
    return max(min(MAX_LINES, MAX_POINTS // max(rows["step"].n_unique(), 1)), MAX_NAMED)


def widest(rows: pl.DataFrame, *, moving: bool = False) -> list[str]:
    """The places of these curves, those whose values reach furthest first; those that move at all, or all of them."""
    spans = rows.group_by("place").agg((pl.col("value").max() - pl.col("value").min()).alias("span"))
    spans = spans.filter(pl.col("span") > 0) if moving else spans
    return spans.sort("span", "place", descending=[True, False], nulls_last=True)["place"].to_list()


def _band(frames: Frames, rows: pl.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    """Where nine tenths of all curves of a panel are, those among them that were not read."""
    band = frames.bands.join(rows, on=("series", "metric"), how="semi")
    if band.is_empty():
        value = pl.col("value")
        band = rows.group_by("step").agg(value.quantile(0.05), value.quantile(0.95).alias("top"))
    area = alt.Chart(thin(band.sort("step"), ("step", "value", "top"))).mark_area(
        style="quiet", opacity=0.25, clip=True
    )
    return area.encode(x=x, y=y, y2=alt.Y2("top:Q"))


def _plural(noun: str) -> str:
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
