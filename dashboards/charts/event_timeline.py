"""Every detected change on one step axis: what came when, and which of them came together."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from dashboards import naming, theme
from dashboards.across import is_many
from dashboards.chances import at_chance_last
from dashboards.charts import chart
from dashboards.frames import Frames, thin
from dashboards.moments import moments
from dashboards.panels import Panel, stack
from dashboards.theme import Drawing

MAX_ROWS = 40
MAX_SMALL = 16  # rows beyond which only large changes are added
ROW = 20  # pixels
LOG = " (log)"
LETTERS, FEW_LETTERS = 40, 26  # of a row's name; where a page is narrow


@chart("What changed when", order=1)
def event_timeline(frames: Frames) -> Drawing:
    """One row an event: thin bar from onset to completion, thick bar the interval of its midpoint, earliest on top."""
    many = is_many(frames)
    rows = _rows(frames, "metric" if many else "series")
    if rows.is_empty():
        return None
    families = rows["about"].unique(maintain_order=True).to_list()
    keys = rows["panel"].unique(maintain_order=True).to_list()
    panels = [_panel(frames, rows.filter(pl.col("panel") == key), number, families) for number, key in enumerate(keys)]
    total = frames.events.height
    limit = (
        f" The {rows.height} largest of {total:,} events are shown; all are in events.csv."
        if rows.height < total
        else ""
    )
    description = _caption(frames, rows, families, limit)
    drawing = stack(panels, spacing=16)
    return drawing.add_params(*theme.parameters(frames.steps()), naming.NARROW).properties(
        description=description, usermeta={"width": theme.WIDTH - 100, "columns": 1}
    )


def _caption(frames: Frames, rows: pl.DataFrame, families: list[str], limit: str) -> str:
    """What is seen, and only that."""
    many = is_many(frames)
    told = [
        f"One row a change, the earliest on top{', one panel a metric' * many}. Triangle: where the change is half "
        "done, pointing the way the curve went; thick bar: its 95 % interval; thin bar: from onset to completion."
    ]
    if not rows["large"].all():
        told.append("Faint, below: changes of less than a tenth of their metric's range.")
    if rows["name"].str.contains(LOG, literal=True).any():
        told.append("(log): found in the logarithm of the value, which shows what is small.")
    if len(families) > 1:
        few = f"; beyond the first {theme.COLOURS} metrics they are grey" * (len(families) > theme.COLOURS)
        told.append(f"Colours tell the metrics apart{few}.")
    if not many and moments(frames):
        told.append("A pale box joins changes that come together more often than chance would bring them.")
    told.append("Ticks at the bottom: the measured checkpoints. Drag sideways to narrow every figure, click a change "
                "to mark its curve.")  # fmt: skip
    return " ".join(told) + limit


def _rows(frames: Frames, panel: str) -> pl.DataFrame:
    """The events to show, in the order of `panel`s; in each the large ones first and each part from the earliest."""
    known = frames.events.filter(pl.col("lower").is_not_null() & pl.col("upper").is_not_null())
    most = MAX_ROWS if panel == "series" else 2 * MAX_ROWS
    largest = known.sort("share", "curve", descending=[True, False], nulls_last=True).head(most)
    few = max(MAX_SMALL - largest.filter(pl.col("large")).height, 0)
    largest = pl.concat([largest.filter(pl.col("large")), largest.filter(~pl.col("large")).head(few)])
    rows: list[dict[str, Any]] = []
    for key in frames.series_names() if panel == "series" else at_chance_last(frames, frames.names()):
        own = largest.filter(pl.col(panel) == key).sort(~pl.col("large"), "midpoint", nulls_last=True)
        title = key if panel == "series" else frames.title(key)
        rows += [{**event, "panel": title, "about": frames.title(event["metric"]),
                  "name": _name(frames, event, panel, LETTERS), "short": _name(frames, event, panel, FEW_LETTERS)}
                 for event in own.to_dicts()]  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None).with_row_index("row") if rows else pl.DataFrame()


def _name(frames: Frames, event: dict[str, Any], panel: str, letters: int) -> str:
    """A row's name; the end of it tells the place, so a long title loses its own end first."""
    title, place = (frames.title(event["metric"]) if panel == "series" else event["series"]), event["place"]
    scale = LOG * (event.get("scale") == "log")
    if len(title) + len(place) + len(scale) > letters:
        title = title[: max(letters - len(place) - len(scale) - 1, 8)].rstrip() + "…"
    return theme.shorten(f"{title}{scale}{',' * bool(event['label'])} {place}".strip(), letters + 4)


def _panel(frames: Frames, rows: pl.DataFrame, number: int, families: list[str]) -> Panel:
    steps = frames.steps()
    labels, short = ({str(row): name for row, name in rows.select("row", column).iter_rows()}
                     for column in ("name", "short"))  # fmt: skip
    columns = ("row", "series", "about", "curve", "place", "kind", "direction", "onset", "midpoint", "completion",
               "lower", "upper", "before", "after", "large", "p_value", "q_value")  # fmt: skip
    frame = thin(rows.with_columns(pl.col("row").cast(pl.String)), columns)
    axis = alt.Axis(labelExpr=naming.names(labels, short), labelLimit=270, domain=False, ticks=False, grid=False,
                    minExtent=110)  # fmt: skip
    y = alt.Y("row:N", title=None, scale=alt.Scale(domain=list(labels)), axis=axis)
    base = alt.Chart(frame).encode(y=y, color=_colour(families))
    pick = alt.selection_point(name=f"pick_{number}", fields=["curve"], on="click")
    brush = alt.selection_interval(name=f"window_{number}", encodings=["x"])
    layers = [
        *_joins(frames, rows, y),
        base.mark_rule(style="quiet", strokeWidth=1.5, clip=True).encode(
            opacity=_strength(1), x=theme.step_place(steps, "onset"), x2=alt.X2("completion:Q"), tooltip=_tooltip()),
        base.mark_bar(style="quiet", height=9, clip=True).encode(
            opacity=_strength(0.45),
            x=theme.step_place(steps, "lower"), x2=alt.X2("upper:Q"), tooltip=_tooltip()),
        base.mark_point(style="quiet", filled=True, size=70, clip=True).encode(
            opacity=_strength(1),
            x=theme.step_x(steps, field="midpoint"), tooltip=_tooltip(), shape=alt.Shape(
                "direction:N", legend=None,
                scale=alt.Scale(domain=["up", "down"], range=["triangle-up", "triangle-down"])),
        ),
        _checkpoints(frames, rows["series"].unique().to_list()).add_params(brush, pick),
    ]  # fmt: skip
    title = alt.TitleParams(rows["panel"][0], frame="bounds")
    return Panel(layer=layers, width=theme.WIDTH - 100, height=ROW * len(labels) + 10, title=title)


def _colour(families: list[str]) -> Any:
    """A colour for each metric; where there are more of them than colours, the others have that of the style."""
    few = families[: theme.COLOURS]
    colour = alt.Color("about:N", scale=alt.Scale(domain=few), legend=None)
    return colour if few == families else alt.when(alt.FieldOneOfPredicate(field="about", oneOf=few)).then(colour)


def _strength(usual: float) -> alt.OpacityValue:
    """Faint where the change is small, strong where a reader has chosen the curve."""
    chosen, small = {"test": theme.CHOSEN, "value": 0.95}, {"test": "!datum.large", "value": 0.4 * usual}
    return alt.OpacityValue(usual, condition=[chosen, small])


def _joins(frames: Frames, rows: pl.DataFrame, y: alt.Y) -> list[alt.Chart]:
    """A pale box behind the changes of each moment at which more come together than chance would bring there."""
    boxes = []
    for moment in moments(frames):
        near = pl.col("midpoint").is_between(*moment.ends) & pl.col("curve").is_in(moment.curves)
        own = rows.filter((pl.col("panel") == moment.about) & near)
        if own.height > 1:
            first, last = (str(row) for row in (own["row"].min(), own["row"].max()))
            left, right = own["lower"].min(), own["upper"].max()
            boxes.append({"row": first, "last_row": last, "lower": left, "upper": right})
    if not boxes:
        return []
    base = alt.Chart(thin(pl.DataFrame(boxes), ("row", "last_row", "lower", "upper")))
    return [
        base.mark_rect(style="band", opacity=0.10, clip=True, cornerRadius=3).encode(
            x=theme.step_place(frames.steps(), "lower"), x2=alt.X2("upper:Q"),
            y=y.bandPosition(0), y2=alt.Y2("last_row:N", bandPosition=1))
    ]  # fmt: skip


def _checkpoints(frames: Frames, series: list[str]) -> alt.Chart:
    measured = frames.measurements.filter(pl.col("series").is_in(series) & pl.col("value").is_not_null())
    at = alt.Chart(measured.select(pl.col("step").unique().sort()))
    ticks = at.mark_tick(style="quiet", thickness=1, height=6, clip=True, yOffset=-3)
    return ticks.encode(x=theme.step_place(frames.steps()), y=alt.YValue("height"))


def _tooltip() -> list[alt.Tooltip]:
    steps = [alt.Tooltip(f"{name}:Q", format=",.0f") for name in ("onset", "midpoint", "completion", "lower", "upper")]
    sizes = [alt.Tooltip(f"{name}:Q", format=".3~g") for name in ("before", "after", "p_value", "q_value")]
    names = [alt.Tooltip("series:N"), alt.Tooltip("about:N", title="metric"), alt.Tooltip("place:N", title="where")]
    return [*names, alt.Tooltip("kind:N"), alt.Tooltip("direction:N"), *steps, *sizes]
