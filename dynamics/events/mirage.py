"""Whether an event survives on a continuous version of the metric.

A sharp rise of a thresholded metric (exact match, accuracy) can come from the threshold alone, while the
probability of the right answer grows smoothly. Source: Schaeffer et al. 2023, Are Emergent Abilities a Mirage?
"""

from __future__ import annotations

import polars as pl

from dynamics.events.schema import AXES, as_measurements

WINDOW = 0.25  # decades
MIRAGE_COLUMNS: dict[str, type[pl.DataType]] = {
    "series": pl.String,
    "metric": pl.String,
    "companion": pl.String,
    **AXES,
    "kind": pl.String,
    "midpoint": pl.Float64,
    "companion_midpoint": pl.Float64,
    "verdict": pl.String,
}


def mirage_check(events: pl.DataFrame, frame: pl.DataFrame, companions: dict[str, str]) -> pl.DataFrame:
    """For each event of a metric with a companion, whether the companion has one at the same place.

    `companions`: discontinuous metric -> continuous metric, such as {"test_accuracy": "test_loss"}. `verdict`:
    "survives" (a transition, kink or plateau of the companion overlaps, or its midpoint is within 0.25 decades),
    "metric only" (the companion was measured and has none there), "not measured". A surviving event is not
    thereby abrupt in the model; an event of the metric only is a statement about the metric.
    """
    measured = set(as_measurements(frame).select("series", "metric").unique().iter_rows())
    rows = []
    for event in events.filter(pl.col("metric").is_in(list(companions)) & (pl.col("kind") != "spike")).to_dicts():
        other = companions[event["metric"]]
        near = events.filter(
            (pl.col("series") == event["series"])
            & (pl.col("metric") == other)
            & pl.col("kind").is_in(["transition", "kink", "plateau"])
            & _same_axes(event)
        )
        apart = ((pl.col("midpoint") + 1) / (event["midpoint"] + 1)).log10().abs()
        overlap = (pl.col("lower") <= event["upper"]) & (pl.col("upper") >= event["lower"])
        near = near.filter(overlap | (apart <= WINDOW)).sort(apart)
        verdict = "survives" if len(near) else "metric only" if (event["series"], other) in measured else "not measured"
        rows.append(
            {
                **{c: event[c] for c in ("series", "metric", *AXES, "kind", "midpoint")},
                "companion": other,
                "companion_midpoint": near["midpoint"][0] if len(near) else None,
                "verdict": verdict,
            }
        )
    return pl.DataFrame(rows, schema=MIRAGE_COLUMNS)


def _same_axes(event: dict[str, object]) -> pl.Expr:
    return pl.all_horizontal(pl.col(a).eq_missing(pl.lit(event[a], dtype=kind)) for a, kind in AXES.items())
