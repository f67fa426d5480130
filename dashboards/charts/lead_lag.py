"""Which change came before which: the lag between every two of a series' largest changes, with its uncertainty."""

from __future__ import annotations

import itertools
from typing import Any

import altair as alt
import polars as pl

from dashboards import naming, theme
from dashboards.across import is_many
from dashboards.charts import chart
from dashboards.frames import Frames, thin
from dashboards.panels import Panel, stack
from dashboards.theme import Drawing
from dashboards.wording import lower
from dynamics.events import lag

MAX_CHANGES = 5  # of one series: ten pairs
ROW = 34  # pixels: two lines
MARGIN = 250  # for the names at the left
TICKS = (0.01, 0.1, 0.2, 0.5, 0.7, 1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 1000)
LETTERS, FEW_LETTERS = 34, 22  # of a change's name; where a page is narrow
UNTOLD = "the checkpoints do not tell"
ARROW = " → "
SAID = {"before": "the first came first", "after": "the second came first", "undecided": UNTOLD}


@chart("Which change came first", order=2)
def lead_lag(frames: Frames) -> Drawing:
    """One row a pair of changes: how much later the second is, in factors of steps, with its 95 % interval."""
    rows = [] if is_many(frames) else [row for name in frames.series_names() for row in _pairs(frames, name)]
    if not rows:
        return None
    table = pl.DataFrame(rows, infer_schema_length=None).with_row_index("row")
    names = table["series"].unique(maintain_order=True).to_list()
    ends = [*table["low"].to_list(), *table["high"].to_list(), 1.0]  # one axis for all series, or bars mislead
    ends = [min(ends) / 1.06, max(ends) * 1.06]
    panels = [_panel(table.filter(pl.col("series") == name), ends) for name in names]
    drawing = stack(panels, spacing=16)
    description = (
        f"One row for every two of the {MAX_CHANGES} largest changes of different metrics in a series. Point: how many "
        "times as many steps the second needed to be half done; bar: the 95 % interval. An order is claimed, in "
        "colour, only where the interval leaves out 1 and those of the midpoints do not overlap; grey: the checkpoints "
        "cannot tell. Coming first is not causing."
    )
    shape = {"width": theme.WIDTH - MARGIN, "columns": 1}
    return drawing.add_params(naming.NARROW).properties(description=description, usermeta=shape)


def _pairs(frames: Frames, series: str) -> list[dict[str, Any]]:
    """The largest change of each metric, the earliest first, and every two of them."""
    known = frames.events.filter(
        pl.col("series") == series, pl.col("large"), pl.col("kind") != "spike",
        *(pl.col(name).is_not_null() for name in ("midpoint", "lower", "upper")),
    )  # fmt: skip
    largest = known.sort("share", descending=True, nulls_last=True).unique("metric", keep="first", maintain_order=True)
    rows = []
    for one, two in itertools.combinations(largest.head(MAX_CHANGES).sort("midpoint").to_dicts(), 2):
        first, second = ({key: event[key] for key in ("midpoint", "lower", "upper")} for event in (one, two))
        middle, low, high, order = lag(first, second)
        pair, short = (f"{_name(frames, one, room)}{ARROW}{lower(_name(frames, two, room))}"
                       for room in (LETTERS, FEW_LETTERS))  # fmt: skip
        rows.append({"series": series, "pair": pair, "short": short, "order": SAID[order], "low": 10**low,
                     "lag": 10**middle, "high": 10**high, "first": first["midpoint"], "second": second["midpoint"]})
    return rows


def _name(frames: Frames, event: dict[str, Any], letters: int) -> str:
    title, room = frames.title(event["metric"]), letters - len(event["place"])
    title = title if len(title) <= room else f"{title[: max(room - 1, 8)].rstrip()}…"
    return f"{title}{',' * bool(event['label'])} {event['place']}".strip()


def _two_lines(rows: pl.DataFrame, column: str) -> dict[str, list[str]]:
    return {str(row): [part + ARROW.rstrip() * (not number) for number, part in enumerate(pair.split(ARROW, 1))]
            for row, pair in rows.select("row", column).iter_rows()}  # fmt: skip


def _panel(rows: pl.DataFrame, ends: list[float]) -> Panel:
    labels = _two_lines(rows, "pair")
    columns = ("row", "pair", "order", "lag", "low", "high", "first", "second")
    base = alt.Chart(thin(rows.with_columns(pl.col("row").cast(pl.String)), columns))
    named = alt.Axis(labelExpr=naming.names(labels, _two_lines(rows, "short")), labelLimit=420, domain=False,
                     ticks=False, grid=False)  # fmt: skip
    y = alt.Y("row:N", title=None, scale=alt.Scale(domain=list(labels)), axis=named)
    scale = theme.value_scale(ends, log=True, nice=False)
    factor = alt.Axis(
        values=[tick for tick in TICKS if ends[0] <= tick <= ends[1]], labelExpr="'×' + format(datum.value, '~g')"
    )
    words = "times as many steps as the first"
    x, low = (alt.X(f"{name}:Q", title=words, scale=scale, axis=factor) for name in ("lag", "low"))
    layers = [alt.Chart(pl.DataFrame({"lag": [1.0]})).mark_rule(style="quiet", strokeDash=[3, 3]).encode(x=x)]
    for test, style in ((f"datum.order === {theme.literal(UNTOLD)}", "quiet"),
                        (f"datum.order !== {theme.literal(UNTOLD)}", "band")):  # fmt: skip
        part = base.transform_filter(test).encode(y=y, tooltip=_hints())
        layers += [part.mark_rule(style=style, strokeWidth=5, opacity=0.45).encode(x=low, x2=alt.X2("high:Q")),
                   part.mark_point(style=style, filled=True, size=60, opacity=1).encode(x=x)]  # fmt: skip
    title = alt.TitleParams(rows["series"][0], frame="bounds")
    return Panel(layer=layers, width=theme.WIDTH - MARGIN, height=ROW * len(labels) + 6, title=title)


def _hints() -> list[alt.Tooltip]:
    factors = [alt.Tooltip(f"{name}:Q", title=title, format=".3~g")
               for name, title in (("lag", "times as many steps"), ("low", "from"), ("high", "to"))]  # fmt: skip
    steps = [alt.Tooltip(f"{name}:Q", title=f"{name} at step", format=",.0f") for name in ("first", "second")]
    return [alt.Tooltip("pair:N"), alt.Tooltip("order:N"), *factors, *steps]
