"""Layer by head at one step, with a slider: where in the model a score is high, at any point of training."""

from __future__ import annotations

import altair as alt
import polars as pl

from dashboards import theme
from dashboards.charts import Drawing, chart
from dashboards.frames import Frames, thin

MAX_CELLS = 30_000  # heads times steps of one series in the page; beyond it only some steps stay on the slider


@chart("layer by head, step by step", axes=("layer,head",), order=25)
def head_grid(frames: Frames, metric: str) -> Drawing:
    """One grid a series: heads across, layers up, the score as colour. The slider chooses the checkpoint."""
    rows = frames.curves(metric).filter(pl.col("value").is_not_null())
    if frames.events_of(metric).is_empty() or rows["place"].n_unique() < 2:
        return None  # where nothing changes the trajectories say it all
    steps = _steps(rows)
    rows = rows.filter(pl.col("step").is_in(steps)).with_columns(
        pl.col("step").replace_strict(dict(zip(steps, range(len(steps)), strict=True))).alias("turn")
    )
    turn = alt.param(name="turn", value=len(steps) - 1, bind=alt.binding_range(
        min=0, max=len(steps) - 1, step=1, name="checkpoint "))  # fmt: skip
    low, high = float(rows["value"].min() or 0), float(rows["value"].max() or 1)  # pyright: ignore[reportArgumentType]
    scale = alt.Scale(range="heatmap", domain=[min(low, 0.0), high])
    names = [name for name in frames.series_names() if (rows["series"] == name).any()]
    panels = [_panel(frames, rows.filter(pl.col("series") == name), name, scale, steps) for name in names]
    thinned = "" if len(steps) == rows_steps(frames, metric) else f" The slider has {len(steps)} of the checkpoints."
    description = (
        f"Each cell is a head, its colour the score at the checkpoint that the slider chooses (the last, to begin "
        f"with; 0 is the first).{thinned}"
    )
    drawing = alt.concat(*panels, columns=2, spacing=28).add_params(turn)
    return drawing.properties(description=description, usermeta={"width": theme.WIDTH, "columns": 2})


def rows_steps(frames: Frames, metric: str) -> int:
    """How many steps the metric was measured at."""
    return frames.curves(metric).filter(pl.col("value").is_not_null())["step"].n_unique()


def _steps(rows: pl.DataFrame) -> list[int]:
    steps = rows["step"].unique().sort().to_list()
    heads = max(rows["curve"].n_unique(), 1)
    every = -(-len(steps) * heads // MAX_CELLS)
    return steps[::-1][:: max(every, 1)][::-1]


def _panel(frames: Frames, rows: pl.DataFrame, series: str, scale: alt.Scale, steps: list[int]) -> Drawing:
    frame = thin(rows, ("place", "layer", "head", "turn", "step", "value"))
    layers, heads = rows["layer"].n_unique(), rows["head"].n_unique()
    legend = alt.Legend(orient="top", gradientLength=200, gradientThickness=9, title=frames.title(rows["metric"][0]))
    cells = (
        alt.Chart(frame)
        .transform_filter("datum.turn === turn")
        .mark_rect(stroke=None)
        .encode(
            x=alt.X("head:O", title="head", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("layer:O", title="layer", sort="descending"),
            color=alt.Color("value:Q", scale=scale, legend=legend),
            tooltip=[alt.Tooltip("place:N", title="where"), alt.Tooltip("step:Q", format=","),
                     alt.Tooltip("value:Q", format=".4~g")],
        )
    )  # fmt: skip
    shown = alt.Chart(pl.DataFrame({"step": steps, "turn": range(len(steps))})).transform_filter("datum.turn === turn")
    text = shown.mark_text(style="note", align="right", baseline="bottom", dy=-4).encode(
        x=alt.value("width"), y=alt.value(0), text=alt.Text("said:N")
    ).transform_calculate(said="'step ' + format(datum.step, ',')")  # fmt: skip
    size = {"width": min(30 * heads, (theme.WIDTH - 110) // 2), "height": min(30 * layers, 320)}
    return alt.layer(cells, text).properties(title=series, **size)
