"""Loss and the in-context-learning score, one above the other on one step axis."""

from __future__ import annotations

import altair as alt

from dashboards import theme
from dashboards.charts import Drawing, chart
from dashboards.frames import Frames, thin
from dashboards.marks import event_bands, failures, hover_points, tooltip


@chart("Loss and in-context learning", needs=("loss", "in_context_learning_score"), order=10)
def in_context(frames: Frames) -> Drawing:
    """The two curves of the induction phase change, with the event's interval shaded in each."""
    loss = _panel(frames, "loss", "loss (nats per token)", last=False)
    score = _panel(frames, "in_context_learning_score", "in-context-learning score (nats)", last=True)
    description = (
        "Above: mean loss per token. Below: the in-context-learning score, loss late in the context minus loss early in "
        "it, so lower means more learning from context. Shaded: pale from onset to completion of the detected "
        "changes, darker the 95 % interval of their midpoints."
    )
    drawing = alt.vconcat(loss, score, spacing=14).resolve_scale(color="shared")
    return drawing.add_params(*theme.step_window(frames.steps())).properties(description=description)


def _panel(frames: Frames, metric: str, title: str, *, last: bool) -> alt.LayerChart:
    steps = frames.steps()
    frame = thin(frames.curves(metric), ("series", "place", "curve", "step", "value", "stderr", "n"))
    names = frames.series_names()
    legend = alt.Legend(title=None, orient="top") if len(names) > 1 else None
    colour = alt.Color("series:N", scale=alt.Scale(domain=names), legend=legend)
    x = theme.step_x(steps, title="training step" if last else None)
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    lines = alt.Chart(frame).mark_line(strokeWidth=2, clip=True).encode(x=x, y=y, color=colour, detail="curve:N")
    points = hover_points(alt.Chart(frame).encode(x=x, y=y, color=colour), f"near_{metric}", tooltip(frame, title))
    bands = event_bands(frames.events_of(metric), steps)
    return alt.layer(*bands, lines, points, *failures(frames)).properties(width=theme.WIDTH, height=170)
