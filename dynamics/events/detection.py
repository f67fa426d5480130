"""Events of every curve of a frame, with the false-discovery rate controlled over the curves of each metric."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from scipy.stats import false_discovery_control

from dynamics.events.curve import Event, detect_curve
from dynamics.events.schema import ALL_COLUMNS, KEYS, as_measurements, no_events

Key = tuple[object, ...]

# On nearly noise-free curves the smallest wiggle is significant. A change of less than this share of what a bounded
# metric can range over is not worth a word, however sure it is.
MATERIAL_SHARE = 0.03


def detect(
    frame: pl.DataFrame,
    *,
    metrics: pl.DataFrame | None = None,
    fdr: float = 0.05,
    min_size: float | None = None,
) -> pl.DataFrame:
    """Find the events of every curve of a frame.

    `frame`: `series, step, metric, value` and optionally `stage, stderr, layer, head, index, label, tokens_seen`;
    NaN and NULL values are gaps, and of two values at one step the last counts. `metrics`: optional bounds,
    `metric, lower, upper, unit`; `before` and `after` are kept inside them. `fdr`: share of false ones tolerated
    among the curves of one metric that are said to have an event. `min_size`: smallest change that is reported,
    in the metric's unit; by default 3 % of the distance between the bounds of a metric that has both, and anything
    for one that has not. Returns `ALL_COLUMNS`, sorted by series, metric, axes and place.
    Raises ValueError for a frame without the four columns and for an `fdr` outside (0, 1].
    """
    if not 0 < fdr <= 1:
        msg = f"fdr is {fdr}: expected a share in (0, 1], such as 0.05"
        raise ValueError(msg)
    found: list[tuple[Key, Event]] = []
    tested: dict[str, list[float]] = {}
    for key, part in as_measurements(frame).group_by(KEYS, maintain_order=True):
        events = _events_of(part)
        best = min((e.p_value for e in events if e.kind != "spike"), default=1.0)
        tested.setdefault(str(key[1]), []).append(best)
        found.extend((key, e) for e in events)
    bounds_of = limits(metrics)
    rows = []
    for key, event in found:
        bounds = bounds_of.get(str(key[1]), (-np.inf, np.inf))
        q = _q_value(event.p_value, np.array(tested[str(key[1])]))
        if q <= fdr and _size(event) >= smallest(bounds, min_size):
            rows.append(_row(key, event, q, bounds))
    if not rows:
        return no_events()
    order = ("series", "metric", "layer", "head", "index", "label", "midpoint")
    return pl.DataFrame(rows, schema=ALL_COLUMNS, orient="row").sort(order)


def _size(event: Event) -> float:
    """How much there is to see. A level change against a drift the other way is no larger than where it leads."""
    if event.kind != "transition":
        return abs(event.magnitude)
    return min(abs(event.magnitude), abs(event.after - event.before))


def smallest(bounds: tuple[float, float], min_size: float | None) -> float:
    """The smallest change worth reporting of a metric with these bounds."""
    if min_size is not None:
        return min_size
    span = bounds[1] - bounds[0]
    return MATERIAL_SHARE * span if np.isfinite(span) else 0.0


def _q_value(p: float, tested: np.ndarray) -> float:
    """Benjamini-Hochberg: the smallest rate at which a curve with this p-value is among those called.

    A curve is tested by its surest event, and a further event of it may have a p-value between those tested: it is
    called where a curve of that p-value would be, at the rank of those at most as large.
    """
    own = p * len(tested) / max(1, int((tested <= p).sum()))
    larger = np.asarray(false_discovery_control(tested))[tested >= p]
    return float(min([own, 1.0, *larger]))


def limits(metrics: pl.DataFrame | None) -> dict[str, tuple[float, float]]:
    """The bounds of every metric that is described; infinite where it has none."""
    if metrics is None:
        return {}
    known = metrics.select(
        "metric",
        pl.col("lower").cast(pl.Float64).fill_null(-np.inf),
        pl.col("upper").cast(pl.Float64).fill_null(np.inf),
    )
    return {metric: (low, high) for metric, low, high in known.iter_rows()}


def _row(key: Key, e: Event, q: float, limits: tuple[float, float]) -> tuple[object, ...]:
    """One row of `ALL_COLUMNS`."""
    before, after = (float(np.clip(v, *limits)) for v in (e.before, e.after))
    return (
        *key, e.kind, e.direction, e.onset, e.midpoint, e.completion, e.lower, e.upper, before, after, e.magnitude,
        e.sharpness, e.p_value, q, e.note, e.magnitude_stderr, e.scale, e.resolved, e.tentative,
    )  # fmt: skip


def _events_of(part: pl.DataFrame) -> list[Event]:
    """Events of one curve's measurements; where a history has several stages, on one continued axis."""
    stages = part["stage"].fill_null("").unique(maintain_order=True).to_list()
    part = part.unique(["stage", "step"], keep="last", maintain_order=True)
    if len(stages) < 2:
        part = part.sort("step")
        return detect_curve(part["step"].to_numpy(), part["value"].to_numpy(), part["stderr"].to_numpy())
    step, said = _continued(part, stages)
    events = detect_curve(step, part["value"].to_numpy(), part["stderr"].to_numpy())
    return [replace(e, note="; ".join(filter(None, (e.note, said)))) for e in events]


def _continued(part: pl.DataFrame, stages: list[str]) -> tuple[np.ndarray, str]:
    """Steps that go on from stage to stage, by tokens where they are known, and a note that says so."""
    first = part.filter((pl.col("stage").fill_null("") == stages[0]) & (pl.col("step") > 0))
    if part["tokens_seen"].null_count() == 0 and len(first):
        per_step = float((first["tokens_seen"] / first["step"]).median() or 1.0)  # type: ignore[arg-type]
        return part["tokens_seen"].to_numpy() / per_step, f"steps are tokens seen / {per_step:.6g}, through all stages"
    offset, steps = 0.0, part["step"].to_numpy().copy()
    names = np.array(part["stage"].fill_null("").to_list())
    for stage in stages:
        inside = names == stage
        steps[inside] += offset
        offset = float(steps[inside].max())
    return steps, "steps are counted through all stages"
