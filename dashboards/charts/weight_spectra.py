"""The spectra of the weights over training: over how many directions each matrix spreads, and how strong it is."""

from __future__ import annotations

import altair as alt
import polars as pl

from dashboards import models, theme
from dashboards.charts import chart
from dashboards.frames import Frames, thin
from dashboards.marks import hover_points, tooltip
from dashboards.panels import Panel, grid
from dashboards.theme import Drawing

OTHERS = ("effective_rank", "effective_rank_of_squares", "participation_ratio", "matrix_entropy", "spectral_norm",
          "condition_number", "power_law_alpha",
          "power_law_ks")  # fmt: skip
LOGARITHMIC = ("condition_number",)
COLUMNS = 2
MAX_LINES = 64  # of one panel
MAX_COLOURS = theme.COLOURS


@chart("Spectra of the weights", needs=("stable_rank",), also=OTHERS, order=40)
def weight_spectra(frames: Frames) -> Drawing:
    """One panel for each measure and series, one line a matrix, coloured by its kind."""
    metrics = [name for name in ("stable_rank", *OTHERS) if name in frames.names()]
    rows = frames.curves(*metrics).with_columns(pl.col("label").fill_null("").alias("matrix"))
    # Matrices of one name in several layers share a colour: "layer 0 W_Q" and "blocks.0.W_Q" are both a W_Q.
    kind = (
        pl.col("matrix").str.replace_all(r"[ ._]?(layer|blocks|layers|h|L)?[ ._]?\d+[ ._]?", " ").str.strip_chars(" .")
    )
    rows = rows.with_columns(kind.alias("kind"))
    kinds = rows["kind"].unique().sort().to_list()
    many = len(kinds) > MAX_COLOURS
    shown = alt.selection_point(name="shown_kind", fields=["kind"], bind="legend", toggle="true")
    panels = []
    for metric in metrics:
        for series in frames.series_names():
            part = rows.filter((pl.col("metric") == metric) & (pl.col("series") == series))
            if part["value"].drop_nulls().len():
                panels.append(_panel(frames, part, ([] if many else kinds), shown, first=not panels))
    drawing = grid(panels, COLUMNS)
    coloured = "All matrices are grey, for there are too many kinds to colour." if many else (
        "Colours are kinds of matrices; click in the legend to show or hide one.")  # fmt: skip
    most = max(frames.n_curves(*panel) for panel in rows.select("metric", "series").unique().iter_rows())
    limited = f" Of {most:,} matrices the {MAX_LINES} that move most are drawn." if most > MAX_LINES else ""
    description = f"One line a matrix, one panel for each measure{' and series' * (len(frames.series_names()) > 1)}."
    return drawing.add_params(*theme.parameters(frames.steps())).properties(
        description=f"{description} {coloured}{limited}", usermeta={"width": theme.WIDTH, "columns": COLUMNS}
    )


def _panel(frames: Frames, rows: pl.DataFrame, kinds: list[str], shown: alt.Parameter, *, first: bool) -> Panel:
    metric, series = rows["metric"][0], rows["series"][0]
    spans = rows.group_by("place").agg((pl.col("value").max() - pl.col("value").min()).alias("span"))
    kept = spans.sort("span", "place", descending=[True, False], nulls_last=True)["place"].head(MAX_LINES).to_list()
    frame = thin(rows.filter(pl.col("place").is_in(kept)), ("series", "kind", "place", "curve", "step", "value"))
    log = metric in LOGARITHMIC
    y = alt.Y("value:Q", title=None, axis=alt.Axis(labelExpr=theme.NUMBER_LABEL, tickCount=5),
              scale=theme.value_scale(frame["value"], log=log))  # fmt: skip
    x = theme.step_x(frames.steps())
    base = alt.Chart(frame).encode(x=x, y=y)
    if kinds:
        legend = alt.Legend(title=None, orient="top", symbolType="stroke", symbolOpacity=1)
        base = base.encode(color=alt.Color("kind:N", scale=alt.Scale(domain=kinds), legend=legend))
    lines = base.mark_line(clip=True) if kinds else base.mark_line(clip=True, style="quiet")
    marked = theme.thickness(1.4)
    lines = lines.encode(
        detail=alt.Detail("curve:N"), strokeWidth=marked, opacity=models.strength(shown, 0.9)
    )
    title = frames.title(metric) + (f", {series}" if len(frames.series_names()) > 1 else "")
    name = f"near_{metric}_{frames.series_names().index(series)}"
    points = hover_points(base, name, tooltip(frame, title), *([shown] if first else []))
    return Panel(layer=[lines, *points], width=(theme.WIDTH - 110) // COLUMNS, height=170, title=title)
