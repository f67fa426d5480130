"""What a curve does besides its events: how far it went, how fast, and in how many decades."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dynamics.events.kinds import fitted_curve, name_events
from dynamics.events.preparation import prepare, steps
from dynamics.events.readings import understand
from dynamics.events.schema import AXES, KEYS, as_measurements

Array = NDArray[np.float64]

GRADUAL_COLUMNS: dict[str, type[pl.DataType]] = {
    "series": pl.String,
    "metric": pl.String,
    **AXES,
    "first": pl.Float64,
    "last": pl.Float64,
    "total": pl.Float64,
    "rate": pl.Float64,
    "half_way": pl.Float64,
    "width": pl.Float64,
    "noise": pl.Float64,
    "noise_model": pl.String,
    "n_events": pl.Int64,
}


def describe_curve(step: Array, value: Array, stderr: Array | None = None) -> dict[str, object] | None:
    """Level at the first and last checkpoint, total change, rate, and where it happened.

    Levels and noise are of the fitted curve, in the metric's unit. `rate`: mean change per decade of step + 1.
    `half_way`: step where half of the total change is done; `width`: decades from 10 % to 90 % of it; both NaN
    where the total is within twice the noise. `noise_model`: what the rest looks like (white, ar, walk_x,
    walk_index, slow). None where fewer than 8 checkpoints were measured or all values are equal.
    """
    prepared = prepare(np.asarray(step, dtype=float), np.asarray(value, dtype=float), stderr)
    if prepared is None:
        return None
    curve, offset, unit = prepared
    explanation = understand(curve)
    smooth = fitted_curve(curve, explanation, spikes=False)
    total, noise = float(smooth[-1] - smooth[0]), float(np.sqrt(explanation.fit.sigma2))
    done = [float("nan")] * 3
    if abs(total) > 2 * noise:
        share = np.maximum.accumulate((smooth - smooth[0]) / total)
        done = [float(np.interp(level, share, curve.x)) for level in (0.1, 0.5, 0.9)]
    return {
        "first": float(smooth[0]) * unit + offset,
        "last": float(smooth[-1]) * unit + offset,
        "total": total * unit,
        "rate": total * unit / max(float(curve.x[-1] - curve.x[0]), 1e-9),
        "half_way": steps(done[1]) if np.isfinite(done[1]) else float("nan"),
        "width": done[2] - done[0],
        "noise": noise * unit,
        "noise_model": curve.noise.models[explanation.fit.noise].name,
        "n_events": len(name_events(curve, explanation)),
    }


def describe(frame: pl.DataFrame) -> pl.DataFrame:
    """One row a curve, `GRADUAL_COLUMNS`: the gradual side of a frame of measurements.

    Curves of which nothing can be said are left out.
    """
    rows = []
    for key, part in as_measurements(frame).group_by(KEYS, maintain_order=True):
        row = describe_curve(part["step"].to_numpy(), part["value"].to_numpy(), part["stderr"].to_numpy())
        if row is not None:
            rows.append({**dict(zip(KEYS, key, strict=True)), **row})
    return pl.DataFrame(rows, schema=GRADUAL_COLUMNS)
