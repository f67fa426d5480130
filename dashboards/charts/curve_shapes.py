"""What shapes the losses of single tokens take over training, and how many take each."""

from __future__ import annotations

import altair as alt
import polars as pl

from dashboards import theme
from dashboards.charts import chart
from dashboards.frames import Frames, thin
from dashboards.panels import Panel, stack
from dashboards.theme import Drawing
from dynamics.curve_shapes import SHAPES, shape_shares, shapes

METRIC = "per_token_loss"
FEWEST = 4  # checkpoints: three values fall, rise or bend, and say little


@chart("Single tokens: how their losses go", needs=(METRIC,), order=34)
def curve_shapes(frames: Frames) -> Drawing:
    """For each series the share of tokens of every shape, and the median curve of each shape."""
    rows = frames.curves(METRIC).filter(pl.col("step").n_unique().over("series") >= FEWEST)
    if rows.is_empty():
        return None
    names = [name for name in frames.series_names() if rows["series"].eq(name).any()]
    panels = [_panel(frames, rows.filter(pl.col("series") == name), name) for name in names]
    drawing = stack(panels, spacing=24)
    description = (
        "Left: the share of tokens whose loss over training has each shape. Right: the median loss of the tokens of "
        "each shape. A shape is that of the falling, rising or valley-shaped curve that explains 80 % of the variance. "
        "Sharp: at least half of the fall, and 2 nats, between two checkpoints (after Michaud et al. 2023); flat: no "
        "way up or down of more than 0.7 nats; irregular: no such curve. Between far apart checkpoints a gradual fall "
        "looks sharp, and a sharp one may be chance: compare several seeds."
    )
    return drawing.add_params(*theme.parameters(frames.steps())).properties(
        description=description, usermeta={"width": theme.WIDTH, "columns": 1}
    )


def _panel(frames: Frames, rows: pl.DataFrame, series: str) -> Drawing:
    known = shapes(rows).drop_nulls("shape")
    shares = shape_shares(known).with_columns(pl.format("{} %", (100 * pl.col("share")).round(1)).alias("said"))
    y = alt.Y("shape:N", title=None, sort=list(SHAPES), axis=alt.Axis(grid=False, ticks=False, domain=False))
    colour = alt.Color("shape:N", scale=alt.Scale(domain=list(SHAPES)), legend=None)
    x = alt.X("share:Q", title="share of tokens", axis=alt.Axis(format="%", grid=False, tickCount=4))
    base = alt.Chart(thin(shares, ("shape", "share", "n", "said"))).encode(x=x, y=y)
    hints = [alt.Tooltip("shape:N"), alt.Tooltip("n:Q", title="tokens"), alt.Tooltip("share:Q", format=".1%")]
    bars = base.mark_bar(height=12).encode(color=colour, tooltip=hints)
    said = base.mark_text(style="note", align="left", dx=4).encode(text=alt.Text("said:N"))
    keys = [name for name in ("series", "layer", "head", "index", "label") if name in rows.columns]
    found = rows.join(known.select(*keys, "shape"), on=keys, nulls_equal=True)
    curves = found.group_by("shape", "step").agg(pl.col("value").median()).sort("shape", "step")
    lines = alt.Chart(thin(curves, ("shape", "step", "value"))).mark_line(clip=True).encode(
        x=theme.step_x(frames.steps()), color=colour,
        tooltip=[alt.Tooltip("shape:N"), alt.Tooltip("step:Q", format=",")],
        y=alt.Y("value:Q", title="median loss (nats)", scale=alt.Scale(zero=False)),
    )  # fmt: skip
    left = Panel(layer=[bars, said], width=190, height=220, title=series)
    return alt.hconcat(left, lines.properties(width=theme.WIDTH - 400, height=220), spacing=40)
