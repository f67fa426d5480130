"""Every checkpoint that was asked for, as a strip: measured, failed, skipped; where the history has holes."""

from __future__ import annotations

import altair as alt
import polars as pl

from dashboards import theme
from dashboards.charts import chart
from dashboards.frames import Frames
from dashboards.marks import note_text
from dashboards.theme import Drawing

STATES = ("measured", "failed", "skipped")


@chart("Checkpoints", order=90)
def checkpoint_strip(frames: Frames) -> Drawing:
    """One row a series, one tick a checkpoint; failed ones stand out and say why on hover."""
    rows = frames.checkpoints.filter(pl.col("status").is_in(STATES))
    if rows.is_empty():
        return None
    frame = rows.select("series", "step", "status", pl.col("revision").str.slice(0, 60), note_text())
    names = [name for name in frames.series_names() if (frame["series"] == name).any()]
    counts = dict(frame["status"].value_counts().iter_rows())
    said = ", ".join(f"{counts[state]:,} {state}" for state in STATES if state in counts)
    axis = alt.Axis(domain=False, ticks=False, labelPadding=8)
    y = alt.Y("series:N", title=None, scale=alt.Scale(domain=names), axis=axis)
    hints = [alt.Tooltip("series:N"), alt.Tooltip("step:Q", format=","),
             *(alt.Tooltip(f"{name}:N") for name in ("status", "revision", "note"))]  # fmt: skip
    good, bad = frame.filter(pl.col("status") == "measured"), frame.filter(pl.col("status") != "measured")
    place = {"x": theme.step_x(frames.steps()), "y": y, "tooltip": hints}
    layers = []
    if good.height:
        layers.append(alt.Chart(good).mark_tick(style="band", thickness=2, height=14, clip=True).encode(**place))
    if bad.height:
        crosses = alt.Chart(bad).mark_point(style="missing", shape="cross", angle=45, size=70, filled=True, opacity=1)
        layers.append(crosses.encode(**place))
    drawing = alt.layer(*layers).properties(width=theme.WIDTH - 100, height=26 * len(names))
    return drawing.add_params(*theme.parameters(frames.steps())).properties(
        description=f"Checkpoints asked for: {said}. Ticks are measured, crosses could not be.",
        usermeta={"width": theme.WIDTH - 100, "columns": 1},
    )
