"""Every detected change on one step axis: what came when, and which of them the data cannot order."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from dashboards import theme
from dashboards.charts import chart
from dashboards.frames import Frames, thin
from dashboards.order import order
from dashboards.theme import Drawing

MAX_ROWS = 40
MAX_SMALL = 16  # rows beyond which only large changes are added
ROW = 20  # pixels


@chart("What changed when", order=1)
def event_timeline(frames: Frames) -> Drawing:
    """One row an event: thin bar from onset to completion, thick bar the interval of its midpoint, earliest on top."""
    rows = _rows(frames)
    if rows.is_empty():
        return None
    names = [name for name in frames.series_names() if (rows["series"] == name).any()]
    families = rows["about"].unique().sort().to_list()
    panels = [_panel(frames, rows.filter(pl.col("series") == name), name, families) for name in names]
    total = frames.events.height
    limit = (
        f" The {rows.height} largest of {total:,} events are shown; all are in events.csv."
        if rows.height < total
        else ""
    )
    description = (
        "One row an event, the earliest on top. Triangle: its midpoint, pointing the way the curve went; thick bar: "
        "the 95 % interval of the midpoint; thin bar: onset to completion. Changes of less than a tenth of their "
        "metric's range stand below, faint. Events in one pale box cannot be ordered: no checkpoint lies between their "
        "intervals. Ticks at the bottom are the measured checkpoints. Drag sideways to narrow every figure to these "
        f"steps, click an event to mark its curve.{limit}"
    )
    drawing = panels[0] if len(panels) == 1 else alt.vconcat(*panels, spacing=16).resolve_scale(color="shared")
    return drawing.add_params(*theme.parameters(frames.steps())).properties(
        description=description, usermeta={"width": theme.WIDTH - 100, "columns": 1}
    )


def _rows(frames: Frames) -> pl.DataFrame:
    """The events to show, large ones first, each part from the earliest; `box` numbers those not to be ordered."""
    known = frames.events.filter(pl.col("lower").is_not_null() & pl.col("upper").is_not_null())
    largest = known.sort("share", "curve", descending=[True, False], nulls_last=True).head(MAX_ROWS)
    few = max(MAX_SMALL - largest.filter(pl.col("large")).height, 0)
    largest = pl.concat([largest.filter(pl.col("large")), largest.filter(~pl.col("large")).head(few)])
    rows: list[dict[str, Any]] = []
    for series in frames.series_names():
        own = largest.filter(pl.col("series") == series)
        for part in (own.filter(pl.col("large")), own.filter(~pl.col("large"))):
            tiers = order(part.to_dicts(), frames.steps(series))
            for tier in tiers:
                box = len(rows) if part["large"].all() and len(tier) > 1 else None
                rows += [{**event, "box": box, "name": _name(frames, event), "about": frames.title(event["metric"])}
                         for event in tier]  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None).with_row_index("row") if rows else pl.DataFrame()


def _name(frames: Frames, event: dict[str, Any]) -> str:
    return theme.shorten(f"{frames.title(event['metric'])} {event['place']}".strip(), 44)


def _panel(frames: Frames, rows: pl.DataFrame, series: str, families: list[str]) -> Drawing:
    steps = frames.steps()
    names = rows["name"].to_list()
    labels = {str(row): name for row, name in zip(rows["row"].to_list(), names, strict=True)}
    columns = ("row", "about", "curve", "place", "kind", "direction", "onset", "midpoint", "completion", "lower",
               "upper", "before", "after", "large", "p_value", "q_value")  # fmt: skip
    frame = thin(rows.with_columns(pl.col("row").cast(pl.String)), columns)
    axis = alt.Axis(labelExpr=_labels(labels), labelLimit=260, domain=False, ticks=False, grid=False)
    y = alt.Y("row:N", title=None, scale=alt.Scale(domain=list(labels)), axis=axis)
    colour = alt.Color("about:N", scale=alt.Scale(domain=families), legend=None)
    base = alt.Chart(frame).encode(y=y, color=colour)
    pick = alt.selection_point(name=f"pick_{frames.series_names().index(series)}", fields=["curve"], on="click")
    brush = alt.selection_interval(name=f"window_{frames.series_names().index(series)}", encodings=["x"])
    layers = [
        *_boxes(rows, steps, y),
        base.mark_rule(strokeWidth=1.5, clip=True).encode(
            opacity=_strength(1), x=theme.step_place(steps, "onset"), x2="completion:Q"),
        base.mark_bar(height=9, clip=True).encode(
            opacity=_strength(0.45),
            x=theme.step_place(steps, "lower"), x2="upper:Q", tooltip=_tooltip()),
        base.mark_point(filled=True, size=70, clip=True).encode(
            opacity=_strength(1),
            x=theme.step_x(steps, field="midpoint"), tooltip=_tooltip(), shape=alt.Shape(
                "direction:N", legend=None,
                scale=alt.Scale(domain=["up", "down"], range=["triangle-up", "triangle-down"])),
        ),
        # Both on one layer: Altair gives a selection of any layer to all, and two would be one too many.
        _checkpoints(frames, series).add_params(brush, pick),
    ]  # fmt: skip
    panel = alt.layer(*layers).properties(width=theme.WIDTH - 100, height=ROW * len(names) + 10)
    return panel.properties(title=series)


def _labels(labels: dict[str, str]) -> str:
    """A Vega expression from row numbers to names. Names are data, so they stand in it only as JSON strings."""
    return f"({theme.literal(labels)})[datum.value]"


def _strength(usual: float) -> Any:
    """Faint where the change is small, strong where a reader has chosen the curve."""
    chosen = alt.when(theme.CHOSEN).then(alt.value(0.95))
    return chosen.when("!datum.large").then(alt.value(0.4 * usual)).otherwise(alt.value(usual))


def _boxes(rows: pl.DataFrame, steps: list[int], y: alt.Y) -> list[alt.Chart]:
    boxes = rows.filter(pl.col("box").is_not_null()).group_by("box", maintain_order=True).agg(
        pl.col("row").min().cast(pl.String).alias("row"), pl.col("row").max().cast(pl.String).alias("last_row"),
        pl.col("lower").min(), pl.col("upper").max(),
    )  # fmt: skip
    if boxes.is_empty():
        return []
    first = y.bandPosition(0)
    return [
        alt.Chart(thin(boxes, ("row", "last_row", "lower", "upper")))
        .mark_rect(style="band", opacity=0.10, clip=True, cornerRadius=3)
        .encode(x=theme.step_place(steps, "lower"), x2="upper:Q", y=first, y2=alt.Y2("last_row:N", bandPosition=1))
    ]  # fmt: skip


def _checkpoints(frames: Frames, series: str) -> alt.Chart:
    measured = frames.checkpoints.filter((pl.col("series") == series) & (pl.col("status") == "measured"))
    ticks = alt.Chart(measured.select("step")).mark_tick(style="quiet", thickness=1, height=6, clip=True, yOffset=-3)
    return ticks.encode(x=theme.step_place(frames.steps()), y=alt.value("height"))


def _tooltip() -> list[alt.Tooltip]:
    steps = [alt.Tooltip(f"{name}:Q", format=",.0f") for name in ("onset", "midpoint", "completion", "lower", "upper")]
    sizes = [alt.Tooltip(f"{name}:Q", format=".3~g") for name in ("before", "after", "p_value", "q_value")]
    return [alt.Tooltip("about:N", title="metric"), alt.Tooltip("place:N", title="where"), alt.Tooltip("kind:N"),
            alt.Tooltip("direction:N"), *steps, *sizes]  # fmt: skip
