"""Metrics with a layer, an index or a label and no picture of their own: every curve over training."""

from __future__ import annotations

import polars as pl

from dashboards.charts import chart
from dashboards.frames import Frames
from dashboards.theme import Drawing
from dashboards.trajectories import Style, trajectories


@chart(
    "every curve over training",
    axes=("layer", "index", "label", "layer,index", "layer,label"),
    order=60,
    fallback=True,
)
def curve_trajectories(frames: Frames, metric: str) -> Drawing:
    """One panel a series, one line a curve. A metric that never varies is a fact, not a curve: it is not drawn."""
    spans = frames.curves(metric).group_by("curve").agg(pl.col("value").n_unique().alias("values"))
    if spans.filter(pl.col("values") > 2).is_empty():
        return None
    return trajectories(frames, metric, Style(_noun(metric, frames.about(metric).get("axes"))))


def _noun(metric: str, axes: str | None) -> str:
    """What one curve of it is called."""
    if axes == "index":
        return next((noun for noun in ("frequency", "position", "feature") if noun in metric), "index")
    return axes if axes in ("layer", "label") else "curve"
