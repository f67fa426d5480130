"""Layer by head at one step, with a slider: where in the model scores are high, at any point of training."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from dashboards import naming, theme
from dashboards.charts import chart
from dashboards.frames import Frames, thin
from dashboards.panels import Panel
from dashboards.theme import Drawing

MAX_CELLS = 50_000  # heads times steps in the whole figure; beyond it only some steps stay on the slider
MAX_METRICS = 6
MAX_COLUMNS = 3
CELL = (9, 44)  # pixels of a cell's side, at least and at most
ROOMY = 20  # where metrics stand beside each other


@chart("Where in the model, step by step", axes=("layer,head",), order=25, together=True)
def head_grid(frames: Frames, metrics: tuple[str, ...]) -> Drawing:
    """A row of grids for each metric that changes, one grid a series: heads across, layers up, the score as colour."""
    changing = [metric for metric in metrics if frames.events_of(metric)["large"].any()][:MAX_METRICS]
    rows = frames.everywhere(*changing).filter(pl.col("value").is_not_null())
    if not changing or rows["place"].n_unique() < 2:
        return None  # where nothing changes the trajectories say it all
    steps = _steps(rows)
    turns = dict(zip(steps, range(len(steps)), strict=True))
    rows = rows.filter(pl.col("step").is_in(steps)).with_columns(pl.col("step").replace_strict(turns).alias("turn"))
    slider = alt.binding_range(min=0, max=len(steps) - 1, step=1, name="checkpoint ")
    turn = alt.param(name="turn", value=len(steps) - 1, bind=slider)
    columns = _columns(rows)
    cell = _cell(rows, columns)
    parts = [rows.filter(pl.col("metric") == name) for name in changing]
    panels = [panel for part in parts for panel in _line(frames, part, steps, cell)]
    all_steps = frames.n_steps(rows)
    thinned = f" The slider has {len(steps)} of {all_steps} checkpoints." if len(steps) < all_steps else ""
    description = (
        "Each cell is a head; its colour is the score at the checkpoint that the slider chooses, the last one to begin "
        f"with. Shown are the metrics with a change of at least a tenth of their range.{thinned}"
    )
    shape = {"width": (cell * rows["head"].n_unique() + 60) * columns, "columns": columns}
    drawing = alt.concat(*panels, columns=columns, spacing=24).resolve_scale(color="independent").add_params(turn)
    return drawing.properties(description=description, usermeta=shape)


def _steps(rows: pl.DataFrame) -> list[int]:
    steps = rows["step"].unique().sort().to_list()
    every = -(-len(steps) * max(rows["curve"].n_unique(), 1) // MAX_CELLS)
    return steps[::-1][:: max(every, 1)][::-1]


def _columns(rows: pl.DataFrame) -> int:
    """Grids in a row: the series of a metric or, of a single series, the metrics that fit."""
    if (names := rows["series"].n_unique()) > 1:
        return min(names, MAX_COLUMNS)
    fit = (theme.WIDTH - 240) // (rows["head"].n_unique() * ROOMY)
    return max(1, min(MAX_COLUMNS, rows["metric"].n_unique(), fit))


def _cell(rows: pl.DataFrame, columns: int) -> int:
    """The side of a cell, so that a row of grids fits the page."""
    return max(CELL[0], min(CELL[1], (theme.WIDTH - 240) // (rows["head"].n_unique() * columns)))


def _line(frames: Frames, rows: pl.DataFrame, steps: list[int], cell: int) -> list[Panel]:
    """The grids of one metric, one a series, on one colour scale; its legend stands at the last."""
    metric, values = rows["metric"][0], rows["value"].to_list()
    scale = alt.Scale(range="heatmap", domain=[min([0.0, *values]), max(values)])
    names = [name for name in frames.series_names() if (rows["series"] == name).any()]
    panels = []
    for name in names:
        legend = (
            alt.Legend(gradientLength=90, gradientThickness=9, title=None, tickCount=3) if name == names[-1] else None
        )
        drawn = {"colour": alt.Color("value:Q", scale=scale, legend=legend), "cell": cell, "steps": steps}
        title = frames.title(metric) if len(names) == 1 else f"{frames.title(metric)}, {name}"
        panels.append(_panel(rows.filter(pl.col("series") == name), title, drawn))
    return panels


def _panel(rows: pl.DataFrame, title: str, drawn: dict[str, Any]) -> Panel:
    frame = thin(rows, ("layer", "head", "turn", "step", "value", "stderr"))
    error = [alt.Tooltip("stderr:Q", title="standard error", format=".2~g")]
    now = "datum.turn === turn"
    cells = alt.Chart(frame).transform_filter(now).mark_rect(stroke=None).encode(
        x=alt.X("head:O", title="head", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("layer:O", title="layer", sort="descending"),
        color=drawn["colour"],
        tooltip=[alt.Tooltip("layer:O"), alt.Tooltip("head:O"), alt.Tooltip("step:Q", format=","),
                 alt.Tooltip("value:Q", format=".4~g"), *error * bool(frame["stderr"].drop_nulls().len())],
    )  # fmt: skip
    steps = alt.Chart(pl.DataFrame({"step": drawn["steps"], "turn": range(len(drawn["steps"]))}))
    said = "'step ' + format(datum.step, ',')"
    text = steps.transform_filter(now).transform_calculate(said=said).mark_text(
        style="note", align="left", baseline="bottom", dy=-4
    ).encode(x=alt.XValue(0), y=alt.YValue(0), text=alt.Text("said:N"))  # fmt: skip
    size = {"width": drawn["cell"] * rows["head"].n_unique(), "height": drawn["cell"] * rows["layer"].n_unique()}
    return Panel(layer=[cells, text], title=alt.TitleParams(naming.lines(title, size["width"] + 60), offset=16), **size)
