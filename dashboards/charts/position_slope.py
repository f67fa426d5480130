"""How loss changes along the context, over training: Olsson's two-dimensional view of in-context learning."""

from __future__ import annotations

import altair as alt
import polars as pl

from dashboards.charts import chart
from dashboards.frames import Frames
from dashboards.maps import GRADIENT, binned, map_panels
from dashboards.theme import Drawing

BANDS = 14  # a derivative needs wider bands than a level, or it shows the noise of single positions


@chart("How loss falls along the context", needs=("loss_by_position",), order=31)
def position_slope(frames: Frames) -> Drawing:
    """One map a series: training step across, position up, and as colour d loss / d log position."""
    cells = binned(frames.curves("loss_by_position"), frames, bands=BANDS)
    order = ("series", "step")
    middle = (pl.col("low") * pl.col("high")).sqrt().log()
    slope = (pl.col("loss") - pl.col("loss").shift(1).over(order)) / (middle - middle.shift(1).over(order))
    cells = cells.sort("series", "step", "low").with_columns(slope.alias("value")).filter(pl.col("value").is_not_null())
    if cells.is_empty():
        return None
    reach = float(cells["value"].abs().quantile(0.98) or 1.0)
    scale = alt.Scale(range="diverging", domain=[-reach, reach], clamp=True)
    colour = alt.Color("value:Q", title="d loss / d ln position", scale=scale, legend=GRADIENT)
    description = (
        "How much better or worse the model predicts further along the context: the slope of the loss over the "
        "logarithm of the position, between neighbouring bands of positions (after Olsson et al. 2022). Negative, "
        "orange: later tokens are predicted better than earlier ones; positive, violet: worse. Colours are cut at the "
        "98th percentile of the absolute value."
    )
    return map_panels(frames, cells, colour, "d loss / d ln position").properties(description=description)
