"""W^T W of the toy autoencoder at a few steps: which features share a direction, oppose each other or stand apart."""

from __future__ import annotations

import math

import altair as alt
import polars as pl

from dashboards import theme
from dashboards.charts import chart
from dashboards.frames import Frames
from dashboards.panels import stack
from dashboards.theme import Drawing, step

STEPS = 5  # matrices in a row
MAX_SERIES = 4


@chart("Products of the features' directions at chosen steps", needs=("feature_products",), order=13)
def feature_products(frames: Frames) -> Drawing:
    """A row of matrices a series; a cell is W_i . W_j."""
    names = [name for name in frames.series_names() if frames.curves("feature_products")["series"].eq(name).any()]
    rows = frames.curves("feature_products").filter(pl.col("value").is_not_null())
    largest = max(abs(value) for value in rows["value"].to_list() or [1.0])
    lines = [_line(rows.filter(pl.col("series") == name), name, largest) for name in names[:MAX_SERIES]]
    left = f" {len(names) - MAX_SERIES} more series are not drawn." if len(names) > MAX_SERIES else ""
    description = (
        "Each cell is the product of two features' directions, W^T W (Elhage et al. 2022): on the diagonal the squared "
        "length of a feature, beside it 0 for features that stand apart and negative numbers for opposite ones. The "
        f"steps are the first, the last, and those at which a quarter, a half and three quarters of all change of the "
        f"matrix lie behind.{left}"
    )
    return stack(lines, spacing=20).properties(description=description, usermeta={"width": theme.WIDTH, "columns": 1})


def chosen_steps(rows: pl.DataFrame) -> list[int]:
    """The first and the last step, and those that part the way of the matrix in equal lengths."""
    ordered = rows.sort("index", "step").with_columns(pl.col("value").diff().over("index").abs().alias("moved"))
    way = ordered.group_by("step").agg(pl.col("moved").sum()).sort("step").with_columns(pl.col("moved").cum_sum())
    whole, picked = float(way["moved"][-1]), []
    for part in range(STEPS):
        reached = way.filter(pl.col("moved") >= whole * part / (STEPS - 1) - 1e-12)["step"]
        picked.append(int(reached[0] if part < STEPS - 1 else way["step"][-1]))
    return sorted(set(picked))


def _line(rows: pl.DataFrame, series: str, largest: float) -> Drawing:
    steps = chosen_steps(rows)
    side = round(math.sqrt(rows["index"].n_unique()))
    size = (theme.WIDTH - 120) // STEPS - 14
    panels = [
        _matrix(rows.filter(pl.col("step") == one), side, largest, legend=one == steps[-1]).properties(
            width=size, height=size, title=f"step {step(one)}"
        )
        for one in steps
    ]
    return alt.hconcat(*panels, spacing=14).properties(title=series)


def _matrix(rows: pl.DataFrame, side: int, largest: float, *, legend: bool) -> alt.Chart:
    frame = rows.select(
        (pl.col("index") // side + 1).alias("row"), (pl.col("index") % side + 1).alias("column"),
        pl.col("value").round_sig_figs(4),
    )  # fmt: skip
    bar = alt.Legend(title=None, gradientLength=90, gradientThickness=9, tickCount=3) if legend else None
    colour = alt.Color("value:Q", scale=alt.Scale(range="diverging", domain=[-largest, largest]), legend=bar)
    return alt.Chart(frame).mark_rect(stroke=None).encode(
        x=alt.X("column:O", title=None, axis=alt.Axis(labelAngle=0, ticks=False)),
        y=alt.Y("row:O", title=None, axis=alt.Axis(ticks=False)),
        color=colour, tooltip=["row:O", "column:O", alt.Tooltip("value:Q", format=".3~g")],
    )  # fmt: skip
