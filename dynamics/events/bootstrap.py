"""p-values from a curve's own checkpoints: what detection finds on curves drawn from its fitted null.

The p-values of `detect_curve` come from one table of simulated curves. On few or uneven checkpoints, or for noise
that the table does not hold, a curve can be judged by itself: a smooth mean and the noise model that explain it best
without events are fitted, curves like it are drawn on the same checkpoints, and detection is run on each.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dynamics.events.curve import Event, detect_curve
from dynamics.events.likelihood import Curve, Fit, evaluate
from dynamics.events.preparation import measured, prepare

Array = NDArray[np.float64]

ENOUGH = 10  # drawn curves at least as striking after which the answer is clear (Besag and Clifford 1991)


def bootstrap(step: Array, value: Array, stderr: Array | None = None, *, draws: int = 99, seed: int = 0) -> list[Event]:
    """The events of one curve with p-values from its own fitted null.

    p is the share of drawn curves, the curve itself among them, of which something is as sure as the event by the
    table. Drawing ends after `draws` curves, or once `ENOUGH` of them are as striking as the surest event, so that a
    doubtful event costs little. The null of a curve with a true event has to explain that event by its noise, which
    makes these p-values cautious. Spikes keep theirs. The same seed gives the same answer.
    Raises ValueError where `draws` is below 1, and as `detect_curve` does.
    """
    if draws < 1:
        msg = f"draws is {draws}: expected at least 1 simulated curve"
        raise ValueError(msg)
    events = detect_curve(step, value, stderr)
    asked = [e.p_value for e in events if e.kind != "spike"]
    at, known, error = measured(np.asarray(step, dtype=float), np.asarray(value, dtype=float), stderr)
    prepared = prepare(at, known, error)
    if not asked or prepared is None:
        return events
    curve, offset, unit = prepared
    null = evaluate(curve, np.empty((curve.size, 0)))
    random = np.random.default_rng(seed)
    smallest: list[float] = []
    while len(smallest) < draws and sum(p <= min(asked) for p in smallest) < ENOUGH:
        found = detect_curve(at, offset + unit * _draw(curve, null, random), error)
        smallest.append(min((e.p_value for e in found if e.kind != "spike"), default=1.0))

    def judged(event: Event) -> Event:
        striking = sum(p <= event.p_value for p in smallest)
        share = striking / len(smallest) if striking >= ENOUGH else (1 + striking) / (1 + len(smallest))
        return event if event.kind == "spike" else replace(event, p_value=float(share))

    return [judged(e) for e in events]


def _draw(curve: Curve, null: Fit, random: np.random.Generator) -> Array:
    """A curve of the null's mean and noise, in standardised values."""
    chosen = list(curve.null_sets[null.null])
    mean = curve.null[:, chosen] @ null.coefficients[: len(chosen)]
    model = curve.noise.models[null.noise]
    noise = random.normal(size=curve.size)
    if model.family >= 0:
        spread = np.sqrt(model.shrink / (1 - model.shrink))
        noise = noise + curve.noise.bases[model.family] @ (spread * random.normal(size=len(spread)))
    scale = 1.0 if curve.scale is None else curve.scale
    return mean + float(np.sqrt(null.sigma2)) * scale * noise
