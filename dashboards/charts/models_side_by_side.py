"""Several models on one axis, by step, by tokens seen, by loss; seeds of one model as a band.

A comparison draws them; of a single run they are drawn by name, and seeds where it has several of one model.
"""

from __future__ import annotations

from dashboards import side_by_side
from dashboards.agreement import as_gathered
from dashboards.charts import chart
from dashboards.frames import Frames
from dashboards.side_by_side import LOSS, STEP, TOKENS, Axis
from dashboards.theme import Drawing

AXES = ("", "layer,head", "label")  # what stands along layers or an index differs between models


@chart("Seeds beside each other", axes=AXES, together=True, order=0)
def seeds(frames: Frames, metrics: tuple[str, ...]) -> Drawing:
    """Every metric over training, the seeds of each model as lines and a band; nothing where no model has several."""
    gathered = as_gathered(frames)
    several = any(len(gathered.seeds(group)) > 1 for group in gathered.group_names())
    return _drawn(frames, metrics, STEP) if several else None


@chart(STEP.title, axes=AXES, together=True, order=80, asked=True)
def models_by_step(frames: Frames, metrics: tuple[str, ...]) -> Drawing:
    """A panel a metric, a line a series, by training step."""
    return _drawn(frames, metrics, STEP)


@chart(TOKENS.title, axes=AXES, together=True, order=81, asked=True)
def models_by_tokens(frames: Frames, metrics: tuple[str, ...]) -> Drawing:
    """The same by tokens seen, where these are stored."""
    return _drawn(frames, metrics, TOKENS)


@chart(LOSS.title, axes=AXES, together=True, order=82, asked=True)
def models_by_loss(frames: Frames, metrics: tuple[str, ...]) -> Drawing:
    """The same by loss: models at equal loss instead of equal time."""
    return _drawn(frames, metrics, LOSS)


def _drawn(frames: Frames, metrics: tuple[str, ...], axis: Axis) -> Drawing:
    figures = side_by_side.figures(as_gathered(frames), (axis,), metrics)
    return figures[0].drawing if figures else None
