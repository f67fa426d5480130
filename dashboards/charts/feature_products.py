"""W^T W of the toy autoencoder at a few steps: which features share a direction, oppose each other or stand apart."""

from __future__ import annotations

import math

import altair as alt
import polars as pl

from dashboards.charts import chart
from dashboards.frames import Frames
from dashboards.maps import GRADIENT
from dashboards.theme import Drawing, step

STEPS = 5  # matrices in a row
MAX_SERIES = 4
SIZE = 122  # pixels of a matrix


@chart("Products of the features' directions at chosen steps", needs=("feature_products",), order=13)
def feature_products(frames: Frames) -> Drawing:
    """A row of matrices a series; a cell is W_i . W_j."""
    names = [name for name in frames.series_names() if frames.curves("feature_products")["series"].eq(name).any()]
    rows = frames.curves("feature_products").filter(pl.col("value").is_not_null())
    largest = max(abs(value) for value in rows["value"].to_list() or [1.0])
    drawn = names[:MAX_SERIES]
    lines = [_line(rows.filter(pl.col("series") == name), name * (len(drawn) > 1), largest) for name in drawn]
    left = f" {len(names) - MAX_SERIES} more series are not drawn." if len(names) > MAX_SERIES else ""
    description = (
        "One matrix a step; its rows and columns are the features, and each cell is the product of two features' "
        "directions, W^T W (Elhage et al. 2022): on the diagonal the squared length of a feature, beside it 0 for "
        "features that stand apart and negative numbers for opposite ones. The steps are the first, the last, and "
        f"those at which a quarter, a half and three quarters of all change of the matrix lie behind.{left}"
    )
    columns = max(len(line) for line in lines)
    drawing = alt.concat(*(panel for line in lines for panel in line), columns=columns, spacing=16)
    shape = {"width": SIZE * columns, "columns": columns, "beside": 3, "square": True}
    return drawing.resolve_scale(color="shared").properties(description=description, usermeta=shape)


def chosen_steps(rows: pl.DataFrame) -> list[int]:
    """The first and the last step, and those that part the way of the matrix in equal lengths."""
    ordered = rows.sort("index", "step").with_columns(pl.col("value").diff().over("index").abs().alias("moved"))
    way = ordered.group_by("step").agg(pl.col("moved").sum()).sort("step").with_columns(pl.col("moved").cum_sum())
    whole, picked = float(way["moved"][-1]), []
    for part in range(STEPS):
        reached = way.filter(pl.col("moved") >= whole * part / (STEPS - 1) - 1e-12)["step"]
        picked.append(int(reached[0] if part < STEPS - 1 else way["step"][-1]))
    return sorted(set(picked))


def _line(rows: pl.DataFrame, series: str, largest: float) -> list[alt.Chart]:
    side = round(math.sqrt(rows["index"].n_unique()))
    return [
        _matrix(rows.filter(pl.col("step") == one), side, largest).properties(
            width=SIZE, height=SIZE, title=", ".join([*[series] * bool(series), f"step {step(one)}"])
        )
        for one in chosen_steps(rows)
    ]


def _matrix(rows: pl.DataFrame, side: int, largest: float) -> alt.Chart:
    frame = rows.select(
        (pl.col("index") // side + 1).alias("row"), (pl.col("index") % side + 1).alias("column"),
        pl.col("value").round_sig_figs(4),
    )  # fmt: skip
    colour = alt.Color("value:Q", title="product of the directions of two features", legend=GRADIENT,
                       scale=alt.Scale(range="diverging", domain=[-largest, largest]))  # fmt: skip
    return alt.Chart(frame).mark_rect(stroke=None).encode(
        x=alt.X("column:O", title=None, axis=alt.Axis(labelAngle=0, ticks=False)),
        y=alt.Y("row:O", title=None, axis=alt.Axis(ticks=False)),
        color=colour, tooltip=[alt.Tooltip("row:O"), alt.Tooltip("column:O"), alt.Tooltip("value:Q", format=".3~g")],
    )  # fmt: skip
