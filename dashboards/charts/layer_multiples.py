"""Small multiples by layer: where in the depth of the model a score of heads changes, and when."""

from __future__ import annotations

import altair as alt
import polars as pl

from dashboards import theme
from dashboards.across import is_many
from dashboards.charts import chart
from dashboards.frames import Frames, thin
from dashboards.marks import hover_points, tooltip
from dashboards.panels import Panel
from dashboards.theme import Drawing
from dashboards.trajectories import most_lines, widest

FEWEST, MOST = 3, 48  # layers: two are told apart in one panel, more than a page holds are not drawn
COLUMNS = 6
HEIGHT = 70
MAX_STEPS = 150  # of a line: a panel is hardly more pixels wide


@chart("every head, layer by layer", axes=("layer,head",), order=22)
def layer_multiples(frames: Frames, metric: str) -> Drawing:
    """One small panel a layer, one line a head; of the series with the most changes, for metrics that change."""
    changed = frames.events_of(metric).filter(pl.col("large"))
    if changed.is_empty() or is_many(frames):
        return None
    series = next(name for name in frames.series_names() if (changed["series"] == name).any())
    rows = _thinned(frames.curves(metric).filter(pl.col("series") == series))
    everywhere = frames.everywhere(metric).filter(pl.col("series") == series)
    layers = everywhere["layer"].drop_nulls().unique().sort().to_list()
    if not FEWEST <= len(layers) <= MOST:
        return None
    limit = max(most_lines(rows) * 2 // len(layers), 2)
    values = rows["value"].drop_nulls().to_list()
    y = alt.Y("value:Q", title=None, scale=theme.value_scale(values, zero=True), axis=alt.Axis(
        labelExpr=theme.NUMBER_LABEL, tickCount=3))  # fmt: skip
    most = max(everywhere.group_by("layer").agg(pl.col("head").n_unique())["head"], default=0)
    panels: list[Panel] = []
    for layer in layers:
        own = rows.filter(pl.col("layer") == layer)
        kept = widest(own)
        columns = ("place", "curve", "step", "value", "stderr", "n")
        frame = thin(own.filter(pl.col("place").is_in(kept[:limit])), columns)
        axis = alt.Axis(labels=False, ticks=False, grid=False)
        x = theme.step_place(frames.steps(), title=None, axis=axis)
        base = alt.Chart(frame).encode(x=x, y=y)
        lines = base.mark_line(style="band", opacity=0.7, clip=True).encode(
            detail=alt.Detail("curve:N"), strokeWidth=theme.thickness(1, chosen=3.5))  # fmt: skip
        points = hover_points(base, f"near_{metric}_{layer}", tooltip(frame, frames.title(metric)))
        panels.append(Panel(layer=[lines, *points], title=f"layer {layer}", width=_width(layers), height=HEIGHT))
    columns = min(COLUMNS, len(panels))
    limited = f" Of up to {most} heads those {limit} that move most are drawn." if most > limit else ""
    steps, drawn = frames.n_steps(rows), rows["step"].n_unique()
    limited += f" Lines pass through {drawn:,} of {steps:,} checkpoints." if drawn < steps else ""
    description = (
        f"{series}: one panel a layer, one line a head, all on the axes of the larger figure (step {theme.step(0)} at "
        f"the left, logarithmic).{limited}"
    )
    drawing = alt.concat(*panels, columns=columns, spacing=14)
    return drawing.add_params(*theme.parameters(frames.steps())).properties(
        description=description, usermeta={"width": theme.WIDTH, "columns": columns}
    )


def _thinned(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows at so many steps as small panels can show, the last among them."""
    steps = rows["step"].unique().sort(descending=True)
    return rows.filter(pl.col("step").is_in(steps.gather_every(max(-(-len(steps) // MAX_STEPS), 1)).to_list()))


def _width(layers: list[int]) -> int:
    columns = min(COLUMNS, len(layers))
    return (theme.WIDTH - 40 * columns) // columns
