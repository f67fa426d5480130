"""A chart of a run in a notebook: Altair's own object, so that Jupyter and marimo show it and it can be changed."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from dashboards import theme
from dashboards.charts import draw_chart
from dashboards.frames import read_frames
from dashboards.theme import Drawing


def chart(folder: str | Path, name: str, metric: str | None = None) -> Drawing:
    """The chart of this name from a run's store; of the metrics that it can draw, `metric` or the first.

    Raises UsageError where there is no such chart or metric, or where the run has not measured what it needs.
    """
    drawing = draw_chart(read_frames(folder), name, metric).drawing
    _inline(drawing)
    drawing.config = theme.config()
    return drawing


def _inline(drawing: Drawing) -> None:
    """Put rows in the place of frames: Altair refuses to show a frame of more than 5,000 rows."""
    for parts in ("layer", "concat", "vconcat", "hconcat"):
        for part in getattr(drawing, parts, None) or ():
            _inline(part)
    if isinstance(drawing.data, pl.DataFrame):
        drawing.data = {"values": drawing.data.to_dicts()}
