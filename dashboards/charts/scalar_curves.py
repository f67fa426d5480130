"""Metrics that are one number a checkpoint and have no picture of their own: a small panel each."""

from __future__ import annotations

from dashboards import models, naming, theme
from dashboards.chances import at_chance_last
from dashboards.charts import chart
from dashboards.frames import Frames
from dashboards.marks import marked, series_panel
from dashboards.panels import grid
from dashboards.theme import Drawing

COLUMNS = 2


@chart("Curves over training", axes=("",), order=70, fallback=True, together=True)
def scalar_curves(frames: Frames, metrics: tuple[str, ...]) -> Drawing:
    """Small multiples: one panel a metric, one line a series, events shaded."""
    shown = models.toggle("shown_series")
    single = len(metrics) == 1
    width = theme.WIDTH if single else (theme.WIDTH - 110) // COLUMNS
    ordered = at_chance_last(frames, metrics)
    panels = [
        series_panel(frames, (metric,), shown, width=width, height=150, title=frames.title(metric),
                     y=frames.unit(metric), first=number == 0)
        for number, metric in enumerate(ordered)
    ]  # fmt: skip
    for panel, metric in zip(panels, ordered, strict=True):
        panel.title = naming.lines(frames.title(metric), width)
    return grid(panels, COLUMNS).add_params(*theme.parameters(frames.steps())).properties(
        description=f"One panel a metric, one line a series. {_coloured(frames)}{marked(frames)}",
        usermeta={"width": theme.WIDTH, "columns": 1 if single else COLUMNS},
    )


def _coloured(frames: Frames) -> str:
    many = len(frames.series_names()) > models.COLOURS
    return "Colours follow the legend, from the smallest model to the largest. " if many else ""
