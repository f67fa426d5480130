"""Loss at every position of the context over training, as a map: where in the context the model gets better, when."""

from __future__ import annotations

import altair as alt

from dashboards.charts import chart
from dashboards.frames import Frames
from dashboards.maps import GRADIENT, binned, map_panels
from dashboards.theme import Drawing


@chart("Loss by position in the context", needs=("loss_by_position",), order=30)
def loss_by_position(frames: Frames) -> Drawing:
    """One map a series: training step across, position up (logarithmic), mean loss as colour."""
    cells = binned(frames.curves("loss_by_position"), frames)
    description = (
        "Mean loss (nats) at each position of the context: the further a colour is from the background, the lower the "
        "loss. A model that learns from its context gets stronger in colour upwards. Positions are pooled in bands "
        "that widen with position; empty columns could not be measured."
    )
    colour = alt.Color(
        "value:Q",
        title="loss (nats)",
        scale=alt.Scale(range="heatmap", reverse=True, zero=False),
        legend=GRADIENT,
    )
    drawing = map_panels(frames, cells.rename({"loss": "value"}), colour, "loss (nats)")
    return drawing.properties(description=description)
