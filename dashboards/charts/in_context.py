"""Loss and the in-context-learning score, one above the other on one step axis."""

from __future__ import annotations

import altair as alt

from dashboards import models, theme
from dashboards.charts import chart
from dashboards.frames import Frames
from dashboards.marks import marked, series_panel
from dashboards.theme import Drawing


@chart("Loss and in-context learning", needs=("loss", "in_context_learning_score"), order=10)
def in_context(frames: Frames) -> Drawing:
    """The two curves of the induction phase change, with the event's interval shaded in each."""
    shown, size = models.toggle("shown_series"), {"width": theme.WIDTH, "height": 170}
    loss = series_panel(frames, ("loss",), shown, **size, y="loss (nats)", x=None, first=True)
    score = series_panel(frames, ("in_context_learning_score",), shown, **size, y="in-context score (nats)")
    description = (
        "Above: mean loss per token. Below: the in-context-learning score, loss late in the context minus loss early "
        f"in it: the lower, the more the model learns from its context. {marked(frames)}"
    )
    drawing = alt.vconcat(loss, score, spacing=14)
    return drawing.add_params(*theme.parameters(frames.steps())).properties(
        description=description, usermeta={"width": theme.WIDTH, "columns": 1}
    )
