"""The same event in several seeds: how many have it, where it lies, and whether the seeds agree.

Curves are never averaged first: a mean of sharp rises at different places is a gradual rise that no seed shows.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import norm

from dynamics.events.preparation import axis, steps
from dynamics.events.schema import AXES
from dynamics.events.together import on_axis

Array = NDArray[np.float64]

DISAGREE = 0.3  # decades: a spread between seeds above this has no common place
CONSENSUS_COLUMNS: dict[str, type[pl.DataType]] = {
    "metric": pl.String,
    **AXES,
    "kind": pl.String,
    "direction": pl.String,
    "n_with": pl.Int64,
    "n_series": pl.Int64,
    "share": pl.Float64,
    "share_lower": pl.Float64,
    "share_upper": pl.Float64,
    "step": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "spread": pl.Float64,
    "verdict": pl.String,
}

SIZES_COLUMNS: dict[str, type[pl.DataType]] = {
    "metric": pl.String,
    **AXES,
    "kind": pl.String,
    "direction": pl.String,
    "axis": pl.String,
    "n_series": pl.Int64,
    "lowest": pl.Float64,
    "median": pl.Float64,
    "highest": pl.Float64,
    "spread": pl.Float64,
}


def wilson(k: int, n: int) -> tuple[float, float]:
    """95 % interval of a share k of n (Wilson score). NaN for n = 0."""
    if n == 0:
        return float("nan"), float("nan")
    z, p = float(norm.ppf(0.975)), k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def pool(places: Array, errors: Array) -> tuple[float, float, float]:
    """Random-effects mean, its standard error and the spread between seeds (DerSimonian and Laird 1986)."""
    weight = 1 / errors**2
    mean = float(np.sum(weight * places) / np.sum(weight))
    if len(places) == 1:
        return mean, float(errors[0]), 0.0
    excess = float(np.sum(weight * (places - mean) ** 2)) - (len(places) - 1)
    spread2 = max(excess / float(np.sum(weight) - np.sum(weight**2) / np.sum(weight)), 0.0)
    weight = 1 / (errors**2 + spread2)
    return float(np.sum(weight * places) / np.sum(weight)), float(1 / np.sqrt(np.sum(weight))), float(np.sqrt(spread2))


def over_heads(events: pl.DataFrame) -> pl.DataFrame:
    """The strongest event of each series and metric whatever its head: heads have no identity across seeds."""
    best = (
        events.filter(pl.col("kind") != "spike")
        .sort("p_value")
        .group_by("series", "metric", maintain_order=True)
        .first()
    )
    return best.select(events.columns).with_columns(pl.lit(None, dtype=kind).alias(a) for a, kind in AXES.items())


def consensus(events: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """Events that several series share, by metric, axes, kind and direction: `CONSENSUS_COLUMNS`.

    `frame`: the measurements, which say how many series were measured. `share` of the series that have the event,
    with its Wilson interval; `step` and its 95 % interval by a random-effects mean on log10(step + 1), normal, and
    therefore optimistic for two or three seeds; `spread`: standard deviation between seeds beyond their own
    intervals, decades. `verdict`: "agree", "seed-dependent" (spread above 0.3 decades, or an intermediate share:
    then no common step is given), or "single" (one series).
    """
    unit = ["metric", *AXES]
    measured = frame.with_columns(pl.lit(None, dtype=k).alias(a) for a, k in AXES.items() if a not in frame.columns)
    of = measured.group_by("metric").agg(pl.col("series").n_unique().alias("n_series"))
    total = dict(of.iter_rows())
    rows = []
    for key, part in events.group_by([*unit, "kind", "direction"], maintain_order=True):
        first = part.sort("p_value").group_by("series", maintain_order=True).first()
        k, n = len(first), max(int(total.get(key[0], 0)), len(first))
        x, low, high = (axis(first[c].to_numpy()) for c in ("midpoint", "lower", "upper"))
        mean, error, spread = pool(x, np.maximum((high - low) / 3.92, 1e-4))
        scattered = spread > DISAGREE or 0.2 < k / n < 0.8
        verdict = "single" if n == 1 else "seed-dependent" if scattered else "agree"
        place = (None, None, None)
        if verdict != "seed-dependent":
            place = (steps(mean), steps(mean - 1.96 * error), steps(mean + 1.96 * error))
        rows.append((*key, k, n, k / n, *wilson(k, n), *place, spread, verdict))
    return pl.DataFrame(rows, schema=CONSENSUS_COLUMNS, orient="row").sort("metric", "n_with", descending=[False, True])


def across_sizes(
    events: pl.DataFrame, frame: pl.DataFrame, axes: tuple[str, ...] = ("step", "tokens_seen", "loss")
) -> pl.DataFrame:
    """Where models of several sizes have the same event, by step, by tokens and at which loss: `SIZES_COLUMNS`.

    `axes`: "step", "tokens_seen", or metrics of `frame`; those that no series has are left out. Of each series the
    surest event of a metric, kind and direction counts. `lowest`, `median` and `highest` are in the axis' unit.
    `spread` is the share of the axis, as far as these histories go along it (steps and tokens on log10), that lies
    between lowest and highest: on the axis with the smallest spread the sizes agree best. Needs two series.
    """
    unit = ["metric", *AXES, "kind", "direction"]
    first = events.filter(pl.col("kind") != "spike").sort("p_value")
    first = first.group_by([*unit, "series"], maintain_order=True).first()
    rows = []
    for name in axes:
        known = _readings(frame, name)
        if known.is_empty():
            continue
        placed = first.with_columns(pl.col("midpoint").alias("at"))
        if name != "step":
            placed = on_axis(first, frame, name).rename({f"at_{name}": "at"})
        for key, part in placed.drop_nulls("at").group_by(unit, maintain_order=True):
            if len(part) < 2:
                continue
            at = np.sort(part["at"].to_numpy())
            along = known.filter(pl.col("series").is_in(part["series"].to_list()))["value"].to_numpy()
            ends, reach = (axis(v) if name in ("step", "tokens_seen") else v for v in (at, along))
            spread = float(np.ptp(ends) / np.ptp(reach)) if np.ptp(reach) > 0 else 0.0
            rows.append((*key, name, len(at), float(at[0]), float(np.median(at)), float(at[-1]), spread))
    return pl.DataFrame(rows, schema=SIZES_COLUMNS, orient="row").sort("metric", "kind", "direction", "spread")


def _readings(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Every value that the series have on an axis."""
    if name in ("step", "tokens_seen"):
        if name not in frame.columns:
            return frame.clear().select("series", pl.lit(0.0).alias("value"))
        return frame.select("series", pl.col(name).cast(pl.Float64).alias("value")).drop_nulls()
    return frame.filter(pl.col("metric") == name).select("series", pl.col("value").cast(pl.Float64)).drop_nulls()
