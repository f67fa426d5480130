"""A chart of a run in a notebook: Altair's own object, so that Jupyter and marimo show it and it can be changed."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from dashboards import theme
from dashboards.charts import draw_chart
from dashboards.frames import read_frames
from dashboards.theme import Drawing

ROOM = 540  # pixels of all plots in a row: with what is written beside them, a cell of marimo, which cuts the rest off


def chart(folder: str | Path, name: str, metric: str | None = None) -> Drawing:
    """The chart of this name from a run's store; of the metrics that it can draw, `metric` or the first.

    Raises UsageError where there is no such chart or metric, or where the run has not measured what it needs.
    """
    drawing = draw_chart(read_frames(folder), name, metric).drawing
    _fit(drawing, min(1.0, ROOM / drawing.usermeta["width"]))
    drawing.config = theme.config()
    return drawing


def _fit(drawing: Drawing, factor: float) -> None:
    """Make plots as wide as a cell, and put rows in the place of frames: Altair shows none of more than 5,000 rows."""
    for parts in ("layer", "concat", "vconcat", "hconcat"):
        for part in getattr(drawing, parts, None) or ():
            _fit(part, factor)
    if isinstance(width := getattr(drawing, "width", None), int | float):
        drawing.width = round(width * factor)
    if isinstance(drawing.data, pl.DataFrame):
        drawing.data = {"values": drawing.data.to_dicts()}
