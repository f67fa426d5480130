"""Metrics with a layer, an index or a label and no picture of their own: every curve over training."""

from __future__ import annotations

import polars as pl

from dashboards.charts import chart
from dashboards.frames import Frames
from dashboards.places import noun
from dashboards.theme import Drawing
from dashboards.trajectories import Style, trajectories


@chart(
    "every curve over training",
    axes=("layer", "head", "index", "label", "layer,index", "layer,label", "label,index"),
    order=60,
    fallback=True,
)
def curve_trajectories(frames: Frames, metric: str) -> Drawing:
    """One panel a series, one line a curve. A metric that never varies is a fact, not a curve: it is not drawn."""
    spans = frames.curves(metric).group_by("curve").agg(pl.col("value").n_unique().alias("values"))
    if spans.filter(pl.col("values") > 2).is_empty():
        return None
    return trajectories(frames, metric, Style(_noun(frames, metric)))


def _noun(frames: Frames, metric: str) -> str:
    """What one curve of it is called."""
    about = frames.about(metric)
    axes = about.get("axes")
    if axes == "index":
        return noun(metric, about.get("title"), about.get("question"))
    return axes if axes in ("layer", "head") else "curve"
