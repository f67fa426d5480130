"""How many dimensions each feature has to itself, over training, with the levels at which features stick."""

from __future__ import annotations

import altair as alt
import polars as pl

from dashboards import theme
from dashboards.charts import chart
from dashboards.frames import Frames, thin
from dashboards.marks import failures, hover_points, tooltip
from dashboards.panels import Panel, stack
from dashboards.theme import Drawing
from dashboards.trajectories import most_lines, widest

# Shares of a dimension that regular arrangements give (Elhage et al. 2022).
LEVELS = {
    "1 alone": 1.0, "3/4 tetrahedron": 0.75, "2/3 triangle": 2 / 3, "1/2 digon": 0.5, "2/5 pentagon": 0.4,
    "3/8 square antiprism": 0.375, "0": 0.0,
}  # fmt: skip
HEIGHT = 300


@chart("How features share dimensions", needs=("feature_dimensionality",), order=12)
def feature_dimensionality(frames: Frames) -> Drawing:
    """One panel a series, one line a feature, and a dashed line at each level."""
    names = [name for name in frames.series_names() if frames.curves("feature_dimensionality")["series"].eq(name).any()]
    panels = [_panel(frames, name) for name in names]
    drawing = stack(panels, spacing=24)
    description = (
        "One line a feature: the share of a dimension that it has to itself. Dashed: shares that regular arrangements "
        "give, a feature alone in its dimension, pairs of opposite features (digon), triangle, tetrahedron, pentagon, "
        "square antiprism (Elhage et al. 2022). Features that share an arrangement lie on its level. A feature whose "
        "direction is still short has no meaningful share."
    )
    parts = frames.curves("feature_dimensionality").partition_by("series")
    counts = [(frames.n_curves("feature_dimensionality", part["series"][0]), most_lines(part)) for part in parts]
    most, drawn = max(counts, default=(0, 0))
    if most > drawn:
        description += f" Of up to {most:,} features the {drawn} that move most are drawn."
    return drawing.add_params(*theme.parameters(frames.steps())).properties(
        description=description, usermeta={"width": theme.WIDTH - 130, "columns": 1}
    )


def _panel(frames: Frames, series: str) -> Panel:
    rows = frames.curves("feature_dimensionality").filter(pl.col("series") == series)
    rows = rows.filter(pl.col("place").is_in(widest(rows)[: most_lines(rows)]))
    frame = thin(rows, ("series", "place", "curve", "step", "value"))
    y = alt.Y("value:Q", title="dimensions", scale=alt.Scale(domain=[0, 1.05], nice=False), axis=alt.Axis(grid=False))
    x = theme.step_x(frames.steps())
    places = theme.spread(list(LEVELS.values()), 0.045, (0.0, 1.05))
    levels = pl.DataFrame({"level": list(LEVELS), "value": list(LEVELS.values()), "at": places})
    rules = alt.Chart(levels).mark_rule(style="quiet", strokeDash=[3, 3], opacity=0.8).encode(y=y)
    words = alt.Chart(levels).mark_text(style="note", align="left", dx=6)
    named = words.encode(x=alt.XValue("width"), y=alt.Y("at:Q"), text=alt.Text("level:N"))
    marked = theme.thickness(1.6)
    lines = alt.Chart(frame).mark_line(style="band", opacity=0.75, clip=True)
    lines = lines.encode(x=x, y=y, detail=alt.Detail("curve:N"), strokeWidth=marked)
    points = hover_points(
        alt.Chart(frame).encode(x=x, y=y),
        f"near_dimensionality_{frames.series_names().index(series)}",
        tooltip(frame, "dimensions"),
    )
    layers = [rules, lines, named, *points, *failures(frames, series)]
    return Panel(layer=layers, width=theme.WIDTH - 130, height=HEIGHT, title=series)
