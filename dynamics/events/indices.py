"""The field's simple indices of a curve, beside the events: they describe, they do not detect.

None has a noise model, and most depend on which checkpoints were saved: a plain power law counts as a
breakthrough by the usual threshold. Read them next to an event, not instead of one.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from dynamics.events.preparation import axis, steps
from dynamics.events.schema import AXES, KEYS, as_measurements

Array = NDArray[np.float64]

INDEX_COLUMNS: dict[str, type[pl.DataType]] = {
    "series": pl.String,
    "metric": pl.String,
    **AXES,
    "improvement": pl.Float64,
    "breakthroughness": pl.Float64,
    "linearity": pl.Float64,
    "steepest_step": pl.Float64,
    "sigmoid_midpoint": pl.Float64,
    "sigmoid_width": pl.Float64,
    "sudden_drop_share": pl.Float64,
}
_LN9 = float(np.log(9.0))


def improvement(value: Array) -> float:
    """Range of a curve, positive when the largest value comes after the smallest.

    Definition: sign(argmax - argmin) (max - min). Source: BIG-bench (Srivastava et al. 2022), I(y).
    NaN where nothing is known.
    """
    known = value[np.isfinite(value)]
    if not len(known):
        return float("nan")
    return float(np.sign(int(np.argmax(known)) - int(np.argmin(known))) * np.ptp(known))


def breakthroughness(value: Array) -> float:
    """How much larger the range is than a typical change from one checkpoint to the next.

    Definition: improvement / sqrt(median of the squared differences). Source: BIG-bench. Infinite where more than
    half of the differences are 0, NaN where the curve is constant or has fewer than two values.
    """
    return _over_changes(value, np.median)


def linearity(value: Array) -> float:
    """How evenly the range is spread over the checkpoints.

    Definition: improvement / sqrt(mean of the squared differences); a straight line of n checkpoints has n - 1.
    Source: BIG-bench. NaN as in `breakthroughness`.
    """
    return _over_changes(value, np.mean)


def _over_changes(value: Array, typical: object) -> float:
    known = value[np.isfinite(value)]
    if len(known) < 2 or np.ptp(known) == 0:
        return float("nan")
    size = float(np.sqrt(typical(np.diff(known) ** 2)))  # type: ignore[operator]
    return improvement(known) / size if size > 0 else float(np.sign(improvement(known)) * np.inf)


def steepest_step(step: Array, value: Array) -> float:
    """Step, in the geometric middle of two checkpoints, where the curve changes fastest in x = log10(step + 1).

    NaN with fewer than two values or a constant curve.
    """
    known = np.isfinite(value)
    x, y = axis(step[known]), value[known]
    if len(x) < 2 or np.ptp(y) == 0:
        return float("nan")
    slope = np.abs(np.diff(y)) / np.maximum(np.diff(x), 1e-9)
    k = int(np.argmax(slope))
    return steps(float(x[k] + x[k + 1]) / 2)


def sigmoid(step: Array, value: Array) -> tuple[float, float]:
    """Midpoint (steps) and 10-90 % width (decades) of one least-squares sigmoid in log10(step + 1).

    NaN where it does not converge, or with fewer than five values or a constant curve.
    """
    known = np.isfinite(value)
    x, y = axis(step[known]), value[known]
    if len(x) < 5 or np.ptp(y) == 0:
        return float("nan"), float("nan")

    def curve(at: Array, low: float, high: float, middle: float, width: float) -> Array:
        return low + (high - low) / (1 + np.exp(-np.clip((at - middle) * 2 * _LN9 / width, -60, 60)))

    start = [y[0], y[-1], axis(np.array([steepest_step(step, value)]))[0], 0.5]
    bounds = ([-np.inf, -np.inf, x[0] - 1, 0.01], [np.inf, np.inf, x[-1] + 1, 10.0])
    try:
        found, _ = curve_fit(curve, x, y, p0=start, bounds=bounds, max_nfev=400)
    except RuntimeError:
        return float("nan"), float("nan")
    return steps(float(found[2])), float(found[3])


def sudden_drop_share(value: Array) -> float:
    """Share of the net change that happens between one checkpoint and the next, at its largest.

    Definition: largest difference in the direction of the net change / net change. 1 is a single jump; more than 1
    means that part of the jump was lost again. NaN where the net change is 0.
    """
    known = value[np.isfinite(value)]
    if len(known) < 2 or known[-1] == known[0]:
        return float("nan")
    net = float(known[-1] - known[0])
    return float(np.max(np.diff(known) * np.sign(net)) / abs(net))


def indices(frame: pl.DataFrame) -> pl.DataFrame:
    """Every index for every curve of a frame of measurements: one row a curve, `INDEX_COLUMNS`."""
    rows = []
    for key, part in as_measurements(frame).group_by(KEYS, maintain_order=True):
        part = part.sort("step")
        step, value = part["step"].to_numpy(), part["value"].to_numpy().astype(float)
        middle, width = sigmoid(step, value)
        rows.append((*key, improvement(value), breakthroughness(value), linearity(value), steepest_step(step, value),
                     middle, width, sudden_drop_share(value)))  # fmt: skip
    return pl.DataFrame(rows, schema=INDEX_COLUMNS, orient="row")
