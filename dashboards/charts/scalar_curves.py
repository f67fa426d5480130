"""Metrics that are one number a checkpoint and have no picture of their own: a small panel each."""

from __future__ import annotations

import altair as alt

from dashboards import theme
from dashboards.charts import chart
from dashboards.frames import Frames
from dashboards.marks import series_panel
from dashboards.theme import Drawing

COLUMNS = 2


@chart("Other curves", axes=("",), order=70, fallback=True, together=True)
def scalar_curves(frames: Frames, metrics: tuple[str, ...]) -> Drawing:
    """Small multiples: one panel a metric, one line a series, events shaded."""
    panels = [
        series_panel(frames, (metric,), width=(theme.WIDTH - 110) // COLUMNS, height=150, title=frames.title(metric))
        for metric in metrics
    ]
    description = (
        "One panel a metric, one line a series. Shaded: detected changes, darker the 95 % interval of their middle."
    )
    drawing = alt.concat(*panels, columns=COLUMNS, spacing=28).resolve_scale(color="shared")
    return drawing.add_params(*theme.parameters(frames.steps())).properties(
        description=description, usermeta={"width": theme.WIDTH, "columns": COLUMNS}
    )
