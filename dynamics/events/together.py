"""What belongs together: events at the same place, in which order, and on another axis.

Places are compared in decades of step + 1 with their 95 % intervals. An order is never claimed inside one gap
between checkpoints, and "precedes" never means "causes".
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dynamics.events.preparation import axis, steps
from dynamics.events.schema import AXES

Array = NDArray[np.float64]

WINDOW = 0.06  # decades: events closer than this count as one moment
DRAWS = 400
UNIT = ("metric", *AXES)
CLUSTER_COLUMNS: dict[str, type[pl.DataType] | pl.DataType] = {
    "series": pl.String,
    "step": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "n_curves": pl.Int64,
    "of": pl.Int64,
    "expected": pl.Float64,
    "p_value": pl.Float64,
    "members": pl.List(pl.String),
}
ORDER_COLUMNS: dict[str, type[pl.DataType]] = {
    "series": pl.String,
    "first": pl.String,
    "second": pl.String,
    "lag": pl.Float64,
    "lag_lower": pl.Float64,
    "lag_upper": pl.Float64,
    "lag_steps": pl.Float64,
    "order": pl.String,
}


def _named(events: pl.DataFrame) -> pl.DataFrame:
    """Events with their place on the log axis and the name of their curve, spikes left out."""
    name = pl.concat_str(
        [pl.col("metric"), *((pl.lit(f" {a} ") + pl.col(a).cast(pl.String)).fill_null("") for a in AXES)]
    )
    place = {c: (pl.col(c) + 1).log10().alias(f"x_{c}") for c in ("midpoint", "lower", "upper")}
    return events.filter(pl.col("kind") != "spike").with_columns(name.alias("curve"), *place.values())


def _largest(places: Array, curves: Array, window: float) -> tuple[int, float]:
    """Most distinct curves inside a window, and where it starts."""
    best, at = 0, float("nan")
    for start in places:
        inside = (places >= start) & (places <= start + window)
        count = len(np.unique(curves[inside]))
        if count > best:
            best, at = count, float(start)
    return best, at


def co_occurring(events: pl.DataFrame, frame: pl.DataFrame, *, seed: int = 0) -> pl.DataFrame:
    """Moments at which more curves of a series have an event than chance would bring together.

    `events`: what `detect` returned; `frame`: the measurements it was given, for the checkpoints. Chance: each
    curve keeps its number of events, which are placed anew at checkpoints drawn uniformly (so that dense stretches
    of a history get their share); p is the share of `DRAWS` draws in which some window holds as many curves.
    Returns `CLUSTER_COLUMNS`, moments with p below 0.01, most curves first; `expected` is the 95th percentile under
    chance. Curves of one metric and layer are not independent: read the p-value as optimistic for them.
    """
    rows = []
    rng = np.random.default_rng(seed)
    for (series,), part in _named(events).group_by("series", maintain_order=True):
        x = axis(frame.filter(pl.col("series") == series)["step"].unique().sort().to_numpy().astype(float))
        places, curves = part["x_midpoint"].to_numpy(), part["curve"].to_numpy()
        window = max(WINDOW, float(np.median(np.diff(x)))) if len(x) > 1 else WINDOW
        chance = np.array(
            [
                _largest(rng.choice(x, len(places)) + rng.normal(0, 1e-6, len(places)), curves, window)[0]
                for _ in range(DRAWS)
            ]
        )
        left = np.ones(len(places), dtype=bool)
        while left.any():
            count, start = _largest(places[left], curves[left], window)
            p = float((1 + np.sum(chance >= count)) / (1 + DRAWS))
            if p >= 0.01 or count < 2:
                break
            inside = left & (places >= start) & (places <= start + window)
            middle = float(np.median(places[inside]))
            rows.append((series, steps(middle), steps(start), steps(start + window), count, len(np.unique(curves)),
                         float(np.quantile(chance, 0.95)), p, sorted(set(curves[inside].tolist()))))  # fmt: skip
            left &= ~inside
    return pl.DataFrame(rows, schema=CLUSTER_COLUMNS, orient="row")


def lag(first: dict[str, float], second: dict[str, float], gap: float = 0.0) -> tuple[float, float, float, str]:
    """Decades from one event to another, the 95 % interval, and the order that may be claimed.

    Each event has `midpoint, lower, upper` in steps. The intervals' half widths add in squares on each side. The
    order is "before" or "after" where the interval leaves out 0 and the lag is larger than `gap` (decades between
    the checkpoints around them), else "undecided".
    """
    a, b = (axis(np.array([e["lower"], e["midpoint"], e["upper"]])) for e in (first, second))
    middle = float(b[1] - a[1])
    low = middle - float(np.hypot(b[1] - b[0], a[2] - a[1]))
    high = middle + float(np.hypot(b[2] - b[1], a[1] - a[0]))
    overlap = bool(a[0] < b[2] and b[0] < a[2])
    if abs(middle) <= gap or low <= 0 <= high or overlap:
        return middle, low, high, "undecided"
    return middle, low, high, "before" if middle > 0 else "after"


def order(events: pl.DataFrame) -> pl.DataFrame:
    """Which event precedes which, for every two curves' largest events of a series: `ORDER_COLUMNS`.

    `lag` is in decades with a 95 % interval, `lag_steps` in steps; `order` is "before" (first precedes second),
    "after" or "undecided". Intervals are never narrower than a checkpoint gap, so nothing is ordered inside one.
    """
    rows = []
    for (series,), part in _named(events).group_by("series", maintain_order=True):
        largest = part.sort("p_value").group_by("curve", maintain_order=True).first().sort("midpoint")
        found = largest.to_dicts()
        for i, first in enumerate(found):
            for second in found[i + 1 :]:
                middle, low, high, said = lag(first, second)
                apart = second["midpoint"] - first["midpoint"]
                rows.append((series, first["curve"], second["curve"], middle, low, high, apart, said))
    return pl.DataFrame(rows, schema=ORDER_COLUMNS, orient="row")


def on_axis(events: pl.DataFrame, frame: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Events with their midpoint read on another axis: `tokens_seen`, or a metric such as the loss.

    Adds the column `at_<metric>`: the axis' value at the midpoint, linear in log10(step + 1) between checkpoints;
    NULL where the series has no such column or measurement. For comparison across model sizes.
    Raises ValueError where no series has it.
    """
    if metric == "tokens_seen" and "tokens_seen" in frame.columns:
        source = frame.select("series", "step", pl.col("tokens_seen").cast(pl.Float64).alias("value"))
    else:
        source = frame.filter(pl.col("metric") == metric).select("series", "step", pl.col("value").cast(pl.Float64))
    source = source.drop_nulls().group_by("series", "step").agg(pl.col("value").mean()).sort("step")
    if source.is_empty():
        msg = f"no series has {metric!r}: expected tokens_seen or one of {frame['metric'].unique().to_list()}"
        raise ValueError(msg)
    known = {s: part for (s,), part in source.group_by("series", maintain_order=True)}
    values = []
    for series, midpoint in events.select("series", "midpoint").iter_rows():
        part = known.get(series)
        at = None
        if part is not None:
            x = axis(part["step"].to_numpy())
            at = float(np.interp(axis(np.array([midpoint]))[0], x, part["value"].to_numpy()))
        values.append(at)
    return events.with_columns(pl.Series(f"at_{metric}", values, dtype=pl.Float64))
