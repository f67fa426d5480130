"""A curve the height of a line of text, as inline SVG: the event table shows what each row is about."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from dashboards.frames import Frames

WIDTH, HEIGHT = 120, 28


def sparkline(frames: Frames, event: dict[str, Any]) -> str:
    """The event's curve with the interval of its midpoint shaded. Numbers only go in, so nothing needs escaping."""
    rows = frames.measurements.filter((pl.col("curve") == event["curve"]) & (pl.col("series") == event["series"]))
    rows = rows.filter(pl.col("value").is_not_null()).sort("step")
    if rows.height < 2:
        return ""
    values, low, high = rows["value"].to_list(), *_ends(rows["value"].to_list())
    steps = rows["step"].to_list()
    constant = min((step for step in steps if step > 0), default=1)
    last = math.log1p(steps[-1] / constant) or 1.0

    def x(step: float) -> float:
        return round(WIDTH * min(max(math.log1p(max(step, 0) / constant) / last, 0), 1), 1)

    points = " ".join(
        f"{x(step)},{round(HEIGHT - 2 - (HEIGHT - 4) * (value - low) / ((high - low) or 1), 1)}"
        for step, value in zip(steps, values, strict=True)
    )
    band = ""
    if event["lower"] is not None and event["upper"] is not None:
        left, right = x(event["lower"]), x(event["upper"])
        band = f'<rect x="{left}" width="{max(right - left, 1.5):.1f}" y="0" height="{HEIGHT}"/>'
    return (
        f'<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" aria-hidden="true">'
        f'{band}<polyline points="{points}"/></svg>'
    )


def _ends(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)
