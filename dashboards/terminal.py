"""A run in a terminal: what emerged, as a table with a curve the height of a letter in each row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dashboards.frames import Frames
from dashboards.provenance import facts
from dashboards.summary import Finding, summarise
from dashboards.theme import interval, probability, shorten, step, step_scale
from dashboards.wording import change

BARS = "▁▂▃▄▅▆▇█"
WIDE, NARROW = 24, 12  # letters of a curve
ROOMY = 110  # columns of a terminal from which every column of the table is shown
MAX_ROWS = 30
# What the table in a pipe has of an event beside its words.
NUMBERS = ("midpoint", "lower", "upper", "onset", "completion", "before", "after", "magnitude", "q_value")


def blocks(steps: Sequence[float], values: Sequence[float | None], letters: int) -> str:
    """A curve as letters on the logarithmic step axis of the report; a space where nothing was measured.

    >>> blocks([0, 1, 10, 100, 1000], [0.0, 0.0, 0.0, 1.0, 1.0], 8)
    '▁▁▁▃▆███'
    """
    known = [(at, value) for at, value in zip(steps, values, strict=True) if value is not None]
    if not known:
        return " " * letters
    low, high = min(value for _, value in known), max(value for _, value in known)
    ends = step_scale(steps)
    places = [_place(at, ends) for at, _ in known]
    drawn = ""
    for number in range(letters):
        at = number / max(letters - 1, 1)
        if not places[0] - 1e-9 <= at <= places[-1] + 1e-9:
            drawn += " "
            continue
        after = next((i for i, place in enumerate(places) if place >= at - 1e-9), len(places) - 1)
        before = max(after - 1, 0)
        gap = places[after] - places[before]
        part = (at - places[before]) / gap if gap > 0 else 1.0
        value = known[before][1] + min(max(part, 0.0), 1.0) * (known[after][1] - known[before][1])
        drawn += BARS[round((value - low) / (high - low) * (len(BARS) - 1))] if high > low else BARS[0]
    return drawn


def _place(at: float, ends: dict[str, float]) -> float:
    """Where a step lies on the axis with these ends, from 0 to 1."""
    first = math.log1p(max(ends["first"], 0.0) / ends["constant"])
    last = math.log1p(ends["last"] / ends["constant"])
    return (math.log1p(max(at, 0.0) / ends["constant"]) - first) / ((last - first) or 1.0)


def rows(frames: Frames, letters: int = WIDE) -> pl.DataFrame:
    """The event table as data: one row a finding, as in the report, large changes first, numbers as they are stored."""
    found = sorted(summarise(frames).findings, key=lambda finding: not finding.large)
    told = [
        {
            "series": one.series, "change": one.claim, "curve": _curve(frames, one, letters), "large": one.large,
            "kind": one.strongest["kind"], **{name: one.strongest[name] for name in NUMBERS},
        }
        for one in found
    ]  # fmt: skip
    texts = dict.fromkeys(("series", "change", "curve"), pl.String)
    schema = {**texts, "large": pl.Boolean, "kind": pl.String, **dict.fromkeys(NUMBERS, pl.Float64)}
    return pl.DataFrame(told, schema=schema)


def _curve(frames: Frames, finding: Finding, letters: int) -> str:
    own = (pl.col("curve") == finding.strongest["curve"]) & (pl.col("series") == finding.series)
    known = dict(frames.measurements.filter(own).select("step", "value").iter_rows())
    steps = frames.steps()  # of all series: the letters of all rows stand for the same steps
    return blocks(steps, [known.get(at) for at in steps], letters)


def overview(frames: Frames, width: int) -> RenderableType:
    """The run for a terminal this many columns wide: its facts, what emerged first of all, and the event table."""
    summary, roomy = summarise(frames), width >= ROOMY
    table = rows(frames, WIDE if roomy else NARROW)
    several, ends = table["series"].n_unique() > 1, step_scale(frames.steps())
    shown = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in [*["series"] * several, "change"]:
        shown.add_column(name, overflow="fold")
    for name in ["curve", "step (95 %)" if roomy else "step", *["from → to"] * roomy, "q"]:
        shown.add_column(name, no_wrap=True)
    for row in table.head(MAX_ROWS).iter_rows(named=True):
        when = step(row["midpoint"])
        cells = [*[shorten(row["series"], 20)] * several, row["change"], _marked(row, ends),
                 f"{when} ({interval(row['lower'], row['upper'])})" if roomy else when,
                 *[change(row)] * roomy, probability(row["q_value"]).removeprefix("=\u00a0")]  # fmt: skip
        shown.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells),
                      style="" if row["large"] else "dim")  # fmt: skip
    parts: list[RenderableType] = [Text(fact, style="dim") for fact in _lines(facts(frames), width)]
    parts += [Text(summary.lead, style="bold")] * bool(summary.lead)
    parts += [Text(f"{line.about}: {line.text}") for line in summary.headlines if line.about not in table["series"]]
    parts += [Text(""), shown] if table.height else []
    if table.height > MAX_ROWS:
        parts.append(Text(f"{table.height - MAX_ROWS} more; 'dynamics report' shows all", style="dim"))
    return Group(*parts)


def _marked(row: dict[str, Any], ends: dict[str, float]) -> Text:
    """The curve with the letters in another colour where the middle of the change may be."""
    text = Text(row["curve"], style="cyan")
    if row["lower"] is not None and row["upper"] is not None:
        last = len(row["curve"]) - 1
        first, end = (round(last * min(max(_place(row[name], ends), 0.0), 1.0)) for name in ("lower", "upper"))
        text.stylize("bold magenta", first, end + 1)
    return text


def _lines(facts: Sequence[str], width: int) -> list[str]:
    """Facts beside each other, as many as fit a line; none is broken that fits."""
    lines: list[str] = []
    for fact in facts:
        if lines and len(lines[-1]) + len(fact) + 3 <= width:
            lines[-1] += f" · {fact}"
        else:
            lines.append(fact)
    return lines
