"""A run in a terminal: what emerged, as a table with a curve the height of a letter in each row."""

from __future__ import annotations

import math
from collections.abc import Sequence

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


def blocks(steps: Sequence[float], values: Sequence[float | None], letters: int) -> str:
    """A curve as letters on the logarithmic step axis of the report; a space where nothing was measured.

    >>> blocks([0, 1, 10, 100, 1000], [0.0, 0.0, 0.0, 1.0, 1.0], 8)
    '▁▁▁▃▆███'
    """
    known = [(at, value) for at, value in zip(steps, values, strict=True) if value is not None]
    if not known:
        return " " * letters
    low, high = min(value for _, value in known), max(value for _, value in known)
    places = [_place(at, steps) for at, _ in known]
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


def _place(at: float, steps: Sequence[float]) -> float:
    """Where a step lies on the axis, from 0 to 1."""
    ends = step_scale(steps)
    first = math.log1p(max(ends["first"], 0.0) / ends["constant"])
    last = math.log1p(ends["last"] / ends["constant"])
    return (math.log1p(max(at, 0.0) / ends["constant"]) - first) / ((last - first) or 1.0)


def rows(frames: Frames, letters: int = WIDE) -> pl.DataFrame:
    """The event table as text: one row a finding, as in the report, large changes first."""
    found = sorted(summarise(frames).findings, key=lambda finding: not finding.large)
    return pl.DataFrame(
        [
            {
                "series": one.series, "change": one.claim, "curve": _curve(frames, one, letters),
                "midpoint": step(one.strongest["midpoint"]),
                "interval": interval(one.strongest["lower"], one.strongest["upper"]),
                "from to": change(one.strongest),
                "q": probability(one.strongest["q_value"]).removeprefix("=\u00a0"),
            }
            for one in found
        ],
        schema=dict.fromkeys(("series", "change", "curve", "midpoint", "interval", "from to", "q"), pl.String),
    )  # fmt: skip


def _curve(frames: Frames, finding: Finding, letters: int) -> str:
    own = (pl.col("curve") == finding.strongest["curve"]) & (pl.col("series") == finding.series)
    curve = frames.measurements.filter(own).sort("step")
    return blocks(curve["step"].to_list(), curve["value"].to_list(), letters)


def overview(frames: Frames, width: int) -> RenderableType:
    """The run for a terminal this many columns wide: its facts, what emerged first of all, and the event table."""
    summary, roomy = summarise(frames), width >= ROOMY
    table = rows(frames, WIDE if roomy else NARROW)
    several = table["series"].n_unique() > 1
    shown = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in [*["series"] * several, "change"]:
        shown.add_column(name, overflow="fold")
    for name in ["curve", "step (95 %)" if roomy else "step", *["from → to"] * roomy, "q"]:
        shown.add_column(name, no_wrap=True)
    for row in table.head(MAX_ROWS).iter_rows(named=True):
        when = f"{row['midpoint']} ({row['interval']})" if roomy else row["midpoint"]
        cells = [*[shorten(row["series"], 20)] * several, row["change"], Text(row["curve"], style="cyan"), when,
                 *[row["from to"]] * roomy, row["q"]]  # fmt: skip
        shown.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))
    parts: list[RenderableType] = [Text(" · ".join(facts(frames)), style="dim")]
    parts += [Text(summary.lead, style="bold")] * bool(summary.lead)
    parts += [Text(f"{line.about}: {line.text}") for line in summary.headlines if line.about not in table["series"]]
    parts += [Text(""), shown] if table.height else []
    if table.height > MAX_ROWS:
        parts.append(Text(f"{table.height - MAX_ROWS} more; 'dynamics report' shows all", style="dim"))
    return Group(*parts)
