"""Metrics that are one number a checkpoint and have no picture of their own: a small panel each."""

from __future__ import annotations

import altair as alt

from dashboards import models, theme
from dashboards.charts import chart
from dashboards.frames import Frames
from dashboards.marks import marked, series_panel
from dashboards.theme import Drawing

COLUMNS = 2


@chart("Curves over training", axes=("",), order=70, fallback=True, together=True)
def scalar_curves(frames: Frames, metrics: tuple[str, ...]) -> Drawing:
    """Small multiples: one panel a metric, one line a series, events shaded."""
    shown = models.toggle("shown_series")
    panels = [
        series_panel(frames, (metric,), shown, width=(theme.WIDTH - 110) // COLUMNS, height=150,
                     title=frames.title(metric), first=number == 0)
        for number, metric in enumerate(metrics)
    ]  # fmt: skip
    drawing = alt.concat(*panels, columns=COLUMNS, spacing=28).resolve_scale(color="shared")
    return drawing.add_params(*theme.parameters(frames.steps())).properties(
        description=f"One panel a metric, one line a series. {marked(frames)}",
        usermeta={"width": theme.WIDTH, "columns": COLUMNS},
    )
