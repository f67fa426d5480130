"""Every head's score over training: which heads emerge, and when."""

from __future__ import annotations

from dashboards.charts import chart
from dashboards.frames import Frames
from dashboards.theme import Drawing
from dashboards.trajectories import Style, trajectories


@chart("every head over training", axes=("layer,head",), order=20)
def head_trajectories(frames: Frames, metric: str) -> Drawing:
    """One panel a series, one line a head; emerging heads in colour and named, the event's interval shaded."""
    return trajectories(frames, metric, Style("head"))
