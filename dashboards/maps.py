"""Maps over training steps and positions: cells instead of lines."""

from __future__ import annotations

import math

import altair as alt
import polars as pl

from dashboards import theme
from dashboards.frames import Frames, thin
from dashboards.panels import grid

MAX_BANDS = 40
COLUMNS = 2
GRADIENT = alt.Legend(orient="top", gradientLength=220, gradientThickness=9)


def binned(rows: pl.DataFrame, frames: Frames, *, bands: int = MAX_BANDS) -> pl.DataFrame:
    """Mean loss in bands of positions that widen with position, and the step edges of each column.

    Columns: series, step, left, right, low, high, loss; a cell spans left..right and low..high. Positions are
    counted from 1, so that their logarithm exists.
    """
    first = 1 if (rows["index"].min() or 0) == 0 else 0
    place = rows.with_columns((pl.col("index") + first).alias("position")).filter(pl.col("value").is_not_null())
    if place.is_empty():
        return pl.DataFrame(schema=dict.fromkeys(("step", "left", "right", "low", "high", "loss"), pl.Float64))
    edges = _bands(int(place["position"].max() or 1), bands)  # pyright: ignore[reportArgumentType]
    band = pl.Series(edges).search_sorted(place["position"].cast(pl.Float64), side="right") - 1
    cells = (
        place.with_columns(band.cast(pl.Int64).alias("band"))
        .group_by("series", "step", "band").agg(pl.col("value").mean().alias("loss"))
        .with_columns(
            pl.col("band").replace_strict(dict(enumerate(edges[:-1])), return_dtype=pl.Float64).alias("low"),
            pl.col("band").replace_strict(dict(enumerate(edges[1:])), return_dtype=pl.Float64).alias("high"),
        )
    )  # fmt: skip
    return cells.join(_columns(frames), on=("series", "step")).sort("series", "step", "low")


def _bands(last: int, bands: int) -> list[float]:
    """Edges of the bands: single positions at first, then equal steps of the logarithm."""
    ratio = max((last + 1) ** (1 / bands), 1.0001)
    edges = [1.0]
    while edges[-1] < last + 1:
        edges.append(min(max(edges[-1] + 1, float(math.floor(edges[-1] * ratio))), last + 1))
    return edges


def _columns(frames: Frames) -> pl.DataFrame:
    """For every checkpoint, where its column begins and ends: half-way to its neighbours on the step axis."""
    ends = theme.step_scale(frames.steps())
    rows = []
    for series in frames.series_names():
        steps = frames.steps(series)
        places = [math.log1p(step / ends["constant"]) for step in steps]
        between = [math.expm1((a + b) / 2) * ends["constant"] for a, b in zip(places, places[1:], strict=False)]
        lefts, rights = [steps[0], *between] if steps else [], [*between, steps[-1]] if steps else []
        rows += [
            {"series": series, "step": step, "left": float(left), "right": float(right)}
            for step, left, right in zip(steps, lefts, rights, strict=True)
        ]
    schema = {"series": pl.String, "step": pl.Int64, "left": pl.Float64, "right": pl.Float64}
    return pl.DataFrame(rows, schema=schema)


def map_panels(frames: Frames, cells: pl.DataFrame, colour: alt.Color, title: str) -> alt.TopLevelMixin:
    """One map a series, on one colour scale."""
    names = [name for name in frames.series_names() if (cells["series"] == name).any()]
    width = theme.WIDTH if len(names) == 1 else (theme.WIDTH - 110) // COLUMNS
    panels = []
    for name in names:
        part = thin(cells.filter(pl.col("series") == name), ("step", "left", "right", "low", "high", "value"))
        y = alt.Y("low:Q", title="position", scale=alt.Scale(type="log", nice=False),
                  axis=alt.Axis(grid=False, values=_position_ticks(cells)))  # fmt: skip
        tooltip = [
            alt.Tooltip("step:Q", format=","), alt.Tooltip("low:Q", title="from position", format=".0f"),
            alt.Tooltip("high:Q", title="to before", format=".0f"), alt.Tooltip("value:Q", title=title, format=".4~g"),
        ]  # fmt: skip
        encoded = alt.Chart(part).mark_rect(clip=True, x2Offset=0.7, y2Offset=-0.7).encode(
            x=theme.step_x(frames.steps(), field="left"), x2=alt.X2("right:Q"), y=y, y2=alt.Y2("high:Q"), color=colour,
            tooltip=tooltip,
        )  # fmt: skip
        panels.append(encoded.properties(width=width, height=220, title=name))
    drawing = grid(panels, COLUMNS)
    return drawing.add_params(*theme.parameters(frames.steps())).properties(
        usermeta={"width": theme.WIDTH, "columns": 1 if len(panels) == 1 else COLUMNS}
    )


def _position_ticks(cells: pl.DataFrame) -> list[float]:
    last = float(cells["high"].max() or 1)  # pyright: ignore[reportArgumentType]
    return [digit * 10.0**power for power in range(6) for digit in (1, 2, 5) if digit * 10.0**power < last]
