"""The dimensions that each feature has to itself, and the shares of regular arrangements (Elhage et al. 2022)."""

from __future__ import annotations

import altair as alt
import polars as pl

from dashboards import theme
from dashboards.charts import chart
from dashboards.frames import Frames, thin
from dashboards.marks import failures, hover_points, tooltip
from dashboards.theme import Drawing

LEVELS = {
    "one's own": 1.0, "tetrahedron 3/4": 3 / 4, "triangle 2/3": 2 / 3, "digon 1/2": 1 / 2, "pentagon 2/5": 2 / 5,
    "not learnt": 0.0,
}  # fmt: skip


@chart("Feature dimensionality over training", needs=("feature_dimensionality",), order=11)
def feature_dimensionality(frames: Frames) -> Drawing:
    """One panel a series, one line a feature, the levels of regular arrangements ruled and named."""
    names = [name for name in frames.series_names() if _rows(frames, name).height]
    panels = [_panel(frames, name, number) for number, name in enumerate(names)]
    description = (
        "Share of a dimension that each feature has to itself; one line a feature. Ruled: the shares in regular "
        "arrangements of directions (square antiprism, 3/8, is left out beside the pentagon). The share of a feature "
        "whose direction is still short says little. Unit: dimensions."
    )
    drawing = alt.vconcat(*panels, spacing=20).add_params(*theme.parameters(frames.steps()))
    return drawing.properties(description=description, usermeta={"width": theme.WIDTH - 110, "columns": 1})


def _rows(frames: Frames, series: str) -> pl.DataFrame:
    return frames.curves("feature_dimensionality").filter(pl.col("series") == series)


def _panel(frames: Frames, series: str, number: int) -> Drawing:
    frame = thin(_rows(frames, series), ("series", "place", "curve", "step", "value", "stderr", "n"))
    y = alt.Y("value:Q", title="dimensions", scale=alt.Scale(domain=[0, 1.05], nice=False))
    base = alt.Chart(frame).encode(x=theme.step_x(frames.steps()), y=y)
    levels = alt.Chart(pl.DataFrame({"level": list(LEVELS), "value": list(LEVELS.values())})).encode(y=y)
    marked = alt.condition(theme.CHOSEN, alt.value(3.5), alt.value(1.2))
    layers = [
        levels.mark_rule(style="note", strokeDash=[4, 4]),
        levels.mark_text(style="note", align="left", dx=4).encode(text="level:N", x=alt.value(theme.WIDTH - 110)),
        base.mark_line(clip=True).encode(detail="curve:N", strokeWidth=marked),
        hover_points(base, f"near_dimensionality_{number}", tooltip(frame, "dimensions")),
        *failures(frames, series),
    ]
    return alt.layer(*layers).properties(width=theme.WIDTH - 110, height=theme.HEIGHT, title=series)
