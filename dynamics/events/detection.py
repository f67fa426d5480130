"""Events of every curve of a frame, with the false-discovery rate controlled over the curves of each metric."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import polars as pl
from scipy.stats import false_discovery_control

from dynamics.events.curve import detect_curve
from dynamics.events.schema import ALL_COLUMNS, KEYS, as_measurements, no_events


def detect(
    frame: pl.DataFrame,
    *,
    metrics: pl.DataFrame | None = None,
    fdr: float = 0.05,
    min_size: float | None = None,
) -> pl.DataFrame:
    """Find the events of every curve of a frame.

    `frame`: `series, step, metric, value` and optionally `stage, stderr, layer, head, index, label, tokens_seen`;
    NaN and NULL values are gaps. `metrics`: optional bounds, `metric, lower, upper, unit`. `fdr`: share of
    false ones tolerated among the curves of one metric that are said to have an event. `min_size`: smallest
    change that is reported, in the metric's unit. Returns `ALL_COLUMNS`, sorted by series, metric and place.
    Raises ValueError for a frame without the four columns and for an `fdr` outside (0, 1].
    """
    if not 0 < fdr <= 1:
        msg = f"fdr is {fdr}: expected a share in (0, 1], such as 0.05"
        raise ValueError(msg)
    rows: list[dict[str, object]] = []
    tested: dict[str, list[float]] = {}
    for key, part in as_measurements(frame).group_by(KEYS, maintain_order=True):
        part = part.sort("step")
        found = detect_curve(part["step"].to_numpy(), part["value"].to_numpy(), part["stderr"].to_numpy())
        named = dict(zip(KEYS, key, strict=True))
        best = min((e.p_value for e in found if e.kind != "spike"), default=1.0)
        tested.setdefault(str(named["metric"]), []).append(best)
        for event in found:
            row = asdict(event)
            row.pop("worth")
            rows.append({**named, **row})
    return _control(rows, tested, fdr, min_size)


def _control(
    rows: list[dict[str, object]], tested: dict[str, list[float]], fdr: float, min_size: float | None
) -> pl.DataFrame:
    kept = []
    adjusted = {m: (np.array(p), false_discovery_control(p)) for m, p in tested.items()}
    for row in rows:
        raw, q = adjusted[str(row["metric"])]
        p = float(row["p_value"])  # type: ignore[arg-type]
        at = np.flatnonzero(raw >= p)
        row["q_value"] = float(q[at].min()) if len(at) else 1.0
        if row["q_value"] <= fdr and (min_size is None or abs(float(row["magnitude"])) >= min_size):  # type: ignore[arg-type]
            kept.append({name: row[name] for name in ALL_COLUMNS})
    if not kept:
        return no_events()
    return pl.DataFrame(kept, schema=ALL_COLUMNS).sort("series", "metric", "layer", "head", "index", "midpoint")
