"""The columns of measurements that detection reads and of events that it writes."""

from __future__ import annotations

import polars as pl

AXES: dict[str, type[pl.DataType]] = {"layer": pl.Int64, "head": pl.Int64, "index": pl.Int64, "label": pl.String}

# One curve: everything but the place on the step axis and the number.
KEYS = ("series", "metric", *AXES)

# The design's `events` table, in its order. Steps are training steps; before, after and magnitude are in the
# metric's unit; sharpness is a 10-90 % width in decades of step + 1.
EVENT_COLUMNS: dict[str, type[pl.DataType]] = {
    "series": pl.String,
    "metric": pl.String,
    **AXES,
    "kind": pl.String,
    "direction": pl.String,
    "onset": pl.Float64,
    "midpoint": pl.Float64,
    "completion": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "before": pl.Float64,
    "after": pl.Float64,
    "magnitude": pl.Float64,
    "sharpness": pl.Float64,
    "p_value": pl.Float64,
    "q_value": pl.Float64,
    "note": pl.String,
}

# What detection knows beyond the table. `magnitude_stderr` is in the metric's unit; `scale` is "linear" or "log"
# (the event was found on log10 of the value); `resolved` is false where the whole change fits between two
# checkpoints, so that sharpness is an upper bound; `tentative` is true while too little was measured after it.
EXTRA_COLUMNS: dict[str, type[pl.DataType]] = {
    "magnitude_stderr": pl.Float64,
    "scale": pl.String,
    "resolved": pl.Boolean,
    "tentative": pl.Boolean,
}

ALL_COLUMNS = {**EVENT_COLUMNS, **EXTRA_COLUMNS}


def no_events() -> pl.DataFrame:
    """An events frame without rows, every column with its type."""
    return pl.DataFrame(schema=ALL_COLUMNS)


def as_measurements(frame: pl.DataFrame) -> pl.DataFrame:
    """Measurements with every column that detection reads, in one type each; absent axes are NULL.

    Raises ValueError where `series`, `step`, `metric` or `value` is missing.
    """
    missing = [c for c in ("series", "step", "metric", "value") if c not in frame.columns]
    if missing:
        msg = (
            f"cannot look for events: the frame has no column {', '.join(missing)} (it has {', '.join(frame.columns)});"
            " expected series, step, metric, value and optionally stderr, stage, tokens_seen and the axes"
        )
        raise ValueError(msg)
    wanted: dict[str, type[pl.DataType]] = {
        "series": pl.String,
        "metric": pl.String,
        **AXES,
        "stage": pl.String,
        "step": pl.Float64,
        "tokens_seen": pl.Float64,
        "value": pl.Float64,
        "stderr": pl.Float64,
    }
    return frame.select(
        (pl.col(name).cast(kind) if name in frame.columns else pl.lit(None, dtype=kind)).alias(name)
        for name, kind in wanted.items()
    )
