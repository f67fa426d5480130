"""Excluded loss of one frequency at a time: which frequencies the memorising and the generalising circuit use."""

from __future__ import annotations

import polars as pl

from dashboards.charts import chart
from dashboards.frames import Frames
from dashboards.theme import Drawing
from dashboards.trajectories import Style, trajectories


@chart("Excluded loss of each frequency", needs=("excluded_loss_by_frequency", "key_frequency"), order=9)
def excluded_by_frequency(frames: Frames) -> Drawing:
    """One line a frequency on a logarithmic loss axis, the key frequencies coloured and named."""
    rows = frames.curves("key_frequency").filter(pl.col("value") > 0.5)
    keys = rows["index"].drop_nulls().unique().sort().to_list()
    named = [f"frequency {key}" for key in keys]
    drawing = trajectories(frames, "excluded_loss_by_frequency", Style("frequency", named, log=True))
    description = (
        "Loss on the train pairs when one frequency alone is removed from the logits; one line a frequency, key "
        "frequencies coloured and named, losses of exactly 0 left out. A frequency that the model needs costs loss "
        "when it is removed. Unit: nats, logarithmic."
    )
    return drawing.properties(description=description)
