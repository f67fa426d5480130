"""Every head's score over training: which heads emerge, and when."""

from __future__ import annotations

import altair as alt
import polars as pl

from dashboards import theme
from dashboards.charts import Drawing, chart
from dashboards.frames import Frames, thin
from dashboards.marks import end_labels, event_bands, failures, hover_points, tooltip

MAX_LINES = 96  # of one panel; beyond it the heads without an event are drawn as a band of quantiles
MAX_LABELS = 10


@chart("every head over training", axes="layer,head", order=20)
def head_trajectories(frames: Frames, metric: str) -> Drawing:
    """One panel a series, one line a head; emerging heads in colour and named, the event's interval shaded."""
    names = [name for name in frames.series_names() if (frames.curves(metric)["series"] == name).any()]
    width = theme.WIDTH if len(names) == 1 else (theme.WIDTH - 100) // 2
    domain = _domain(frames, metric)
    panels = [_panel(frames, metric, name, width, domain) for name in names]
    about = frames.about(metric)
    unit = f" Unit: {about['unit']}." if about.get("unit") else ""
    description = (
        f"One line a head. {_colour_sentence(frames, metric)} Shaded: pale from the first onset to the last completion "
        f"of the detected changes, darker where their midpoints lie with 95 % confidence.{unit}{_limits(panels)}"
    )
    drawing = panels[0][0] if len(panels) == 1 else alt.concat(*(panel for panel, _ in panels), columns=2, spacing=24)
    return drawing.add_params(*theme.step_window(frames.steps())).properties(description=description)


def _domain(frames: Frames, metric: str) -> tuple[float, float]:
    values = frames.curves(metric)["value"].drop_nulls()
    low, high = float(values.min() or 0.0), float(values.max() or 0.0)  # pyright: ignore[reportArgumentType]
    low = min(low, 0.0)
    return low, high if high > low else low + 1.0


def _emerging(frames: Frames, metric: str, series: str) -> list[str]:
    events = frames.events_of(metric).filter((pl.col("series") == series) & (pl.col("place") != ""))
    size = (pl.col("after") - pl.col("before")).abs()
    return events.sort(size, descending=True, nulls_last=True)["place"].unique(maintain_order=True).to_list()


def _colour_sentence(frames: Frames, metric: str) -> str:
    changed = frames.events_of(metric).filter(pl.col("place") != "")
    if changed.is_empty():
        return "No head has a detected change: all are grey."
    return "Heads with a detected change are coloured and named, largest change first; the others are grey."


def _limits(panels: list[tuple[Drawing, str]]) -> str:
    return "".join(dict.fromkeys(note for _, note in panels if note))


def _panel(
    frames: Frames, metric: str, series: str, width: int, domain: tuple[float, float]
) -> tuple[Drawing, str]:
    steps = frames.steps()
    rows = frames.curves(metric).filter(pl.col("series") == series)
    emerging = _emerging(frames, metric, series)[:MAX_LABELS]
    shown, rest, note = _limit(rows, emerging)
    frame = thin(shown, ("series", "place", "curve", "step", "value", "stderr", "n"))
    y = alt.Y("value:Q", title=None, scale=alt.Scale(domain=list(domain), nice=True))
    x = theme.step_x(steps)
    quiet = alt.Chart(frame.filter(~pl.col("place").is_in(emerging)))
    loud = alt.Chart(frame.filter(pl.col("place").is_in(emerging)))
    colour = alt.Color("place:N", scale=alt.Scale(domain=emerging), legend=None, title="head")
    layers: list[alt.Chart] = event_bands(frames.events_of(metric).filter(pl.col("series") == series), steps)
    if rest is not None:
        layers.append(_rest_band(rest, x, y))
    layers.append(quiet.mark_line(style="quiet", strokeWidth=1, clip=True).encode(x=x, y=y, detail="curve:N"))
    if emerging:
        layers.append(loud.mark_line(strokeWidth=2, clip=True).encode(x=x, y=y, detail="curve:N", color=colour))
        layers.append(_names(frame.filter(pl.col("place").is_in(emerging)), emerging, domain, width))
    points = alt.Chart(frame).encode(x=x, y=y)
    hover = f"near_{metric}_{frames.series_names().index(series)}"
    layers.append(hover_points(points, hover, tooltip(frame, frames.title(metric))))
    layers += failures(frames, series)
    heads = rows["place"].n_unique()
    found = f"{len(_emerging(frames, metric, series))} of {heads} heads change" if emerging else "no head changes"
    title = alt.TitleParams(series, subtitle=found, subtitleFontSize=11)
    return alt.layer(*layers).properties(width=width, height=theme.HEIGHT, title=title), note


def _names(frame: pl.DataFrame, emerging: list[str], domain: tuple[float, float], width: int) -> alt.Chart:
    ends = frame.filter(pl.col("value").is_not_null()).sort("step").group_by("place").last()
    ends = end_labels(ends.sort("place"), domain[0], domain[1], theme.HEIGHT)
    return (
        alt.Chart(thin(ends, ("place", "at", "step")))
        .mark_text(align="left", dx=6, fontSize=11, fontWeight=600)
        .encode(
            x=alt.value(width), y=alt.Y("at:Q"), text="place:N",
            color=alt.Color("place:N", scale=alt.Scale(domain=emerging), legend=None),
        )
    )  # fmt: skip


def _limit(rows: pl.DataFrame, emerging: list[str]) -> tuple[pl.DataFrame, pl.DataFrame | None, str]:
    """The heads to draw one by one; all the others, when there are too many, for a band."""
    heads = rows["place"].n_unique()
    if heads <= MAX_LINES:
        return rows, None, ""
    spans = rows.group_by("place").agg((pl.col("value").max() - pl.col("value").min()).alias("span"))
    widest = spans.sort("span", "place", descending=[True, False], nulls_last=True)["place"].to_list()
    keep = emerging + [place for place in widest if place not in emerging][: MAX_LINES - len(emerging)]
    note = (
        f" Of {heads} heads in a panel, {len(keep)} are drawn (those with an event, then those that move most); the "
        "others are a band from their 5th to their 95th percentile. All of them are in measurements.parquet."
    )
    chosen = pl.col("place").is_in(keep)
    return rows.filter(chosen), rows.filter(~chosen), note


def _rest_band(rest: pl.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    band = rest.group_by("step").agg(
        pl.col("value").quantile(0.05).alias("value"), pl.col("value").quantile(0.95).alias("top")
    )
    return (
        alt.Chart(thin(band.sort("step"), ("step", "value", "top")))
        .mark_area(style="band", opacity=0.12, clip=True).encode(x=x, y=y, y2="top:Q")
    )  # fmt: skip
