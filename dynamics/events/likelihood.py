"""How well a smooth mean plus event shapes explains one curve, maximised over noise models and null means.

The score of a hypothesis is twice its profile log-likelihood (noise scale, coefficients, noise model and null
mean maximised), with the noise never below a floor: on nearly noise-free curves everything is significant, and
no smooth model of training is right to better than about a hundredth of the curve's range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamics.events.noise import NoiseSet, noise_models, null_means

Array = NDArray[np.float64]

NULL_COST = 3.0  # each column of the null beyond the constant costs as much as BIC would charge on a short curve
NOISE_COST = 1.0
# Independent noise above this many standard errors pays, up to `DISBELIEF`: what training adds from checkpoint to
# checkpoint is more often a wander than independent noise many times as large as was measured.
BELIEVED = 2.2
DISBELIEF = 12.0


@dataclass(frozen=True)
class Curve:
    """One curve ready for fitting: x, the standardised values, relative noise `scale`, and the noise floor."""

    x: Array
    y: Array
    scale: Array | None
    floor: float
    expected: float  # typical reported standard error in the same unit; NaN where none is reported
    noise: NoiseSet
    null: Array
    null_sets: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        return len(self.x)

    def weigh(self, matrix: Array) -> Array:
        """Divide rows by the relative noise of each checkpoint."""
        return matrix if self.scale is None else matrix / self.scale[:, None]


@dataclass(frozen=True)
class Fit:
    """A hypothesis at its best noise model and null mean. `coefficients`: null columns first, then event columns."""

    score: float
    noise: int
    null: int
    coefficients: Array
    covariance: Array
    sigma2: float
    scores: Array  # [noise, null]


def make_curve(x: Array, y: Array, scale: Array | None, floor: float, expected: float = np.nan) -> Curve:
    """Attach the grid's noise models and null means to a curve."""
    null, sets = null_means(x)
    return Curve(x, y, scale, floor, expected, noise_models(x, scale), null, sets)


def _grams(curve: Curve, table: Array) -> Array:
    """Inner products of the columns under each noise model's inverse covariance: `[noise, column, column]`."""
    plain = table.T @ table
    projected = [basis.T @ table for basis in curve.noise.bases]
    out = np.empty((len(curve.noise.models), *plain.shape))
    for k, model in enumerate(curve.noise.models):
        if model.family < 0:
            out[k] = plain
        else:
            p = projected[model.family]
            out[k] = plain - p.T @ (model.shrink[:, None] * p)
    return out


def _solve(gram: Array, pick: list[int]) -> tuple[Array, Array]:
    """Residual sum of squares of column 0 on the picked columns, and the coefficients, for each noise model."""
    sub = gram[:, pick][:, :, pick]
    sub = sub + 1e-10 * np.eye(len(pick)) * np.trace(sub, axis1=1, axis2=2)[:, None, None]
    cross = gram[:, pick, 0]
    coefficients = np.linalg.solve(sub, cross[:, :, None])[:, :, 0]
    rss = gram[:, 0, 0] - np.sum(coefficients * cross, axis=1)
    return np.maximum(rss, 1e-12), coefficients


def degrees(size: int, n_columns: int = 6) -> float:
    """Effective number of observations: short curves spend a good part of theirs on the fit itself."""
    return max(size - n_columns, 0.4 * size)


def score_of(rss: Array, log_det: Array | float, curve: Curve) -> Array:
    """Twice the profile log-likelihood, with the noise sd never below the floor."""
    n = curve.size
    sigma2 = np.maximum(rss / n, curve.floor**2)
    score = -degrees(n) * (np.log(sigma2) + rss / (n * sigma2)) - log_det
    if not curve.expected > 0:
        return score
    excess = 0.5 * np.log(sigma2) - np.log(max(curve.expected, curve.floor)) - np.log(BELIEVED)
    return score - np.minimum((np.maximum(excess, 0.0) / 0.35) ** 2, DISBELIEF)


def evaluate(curve: Curve, events: Array) -> Fit:
    """Fit the null plus the given event columns `[n_checkpoints, n_events]`; best over noise models and null means."""
    table = curve.weigh(np.concatenate([curve.y[:, None], curve.null, events], axis=1))
    grams = _grams(curve, table)
    n_null, n_events = curve.null.shape[1], events.shape[1]
    log_det = np.array([m.log_det for m in curve.noise.models])
    cost = np.array([0.0 if m.family < 0 else NOISE_COST for m in curve.noise.models])
    tail = list(range(1 + n_null, 1 + n_null + n_events))
    scores = np.empty((len(log_det), len(curve.null_sets)))
    solved = []
    for j, columns in enumerate(curve.null_sets):
        rss, coefficients = _solve(grams, [1 + c for c in columns] + tail)
        scores[:, j] = score_of(rss, log_det, curve) - cost - NULL_COST * (len(columns) - 1)
        solved.append((rss, coefficients))
    noise, null = np.unravel_index(int(np.argmax(scores)), scores.shape)
    return _fit(curve, grams, scores, (int(noise), int(null)), solved[null], tail)


def _fit(
    curve: Curve, grams: Array, scores: Array, best: tuple[int, int], solved: tuple[Array, Array], tail: list[int]
) -> Fit:
    noise, null = best
    pick = [1 + c for c in curve.null_sets[null]] + tail
    rss = float(solved[0][noise])
    sigma2 = max(rss / max(curve.size - len(pick), 1), curve.floor**2)
    covariance = sigma2 * np.linalg.pinv(grams[noise][np.ix_(pick, pick)])
    return Fit(float(scores[noise, null]), noise, null, solved[1][noise], covariance, sigma2, scores)


def _whiten(curve: Curve, noise: int, matrix: Array) -> Array:
    """Multiply by the inverse square root of the noise model's correlation."""
    model = curve.noise.models[noise]
    if model.family < 0:
        return matrix
    basis = curve.noise.bases[model.family]
    factor = 1.0 - np.sqrt(1.0 - model.shrink)
    return matrix - basis @ (factor[:, None] * (basis.T @ matrix))


def gains(curve: Curve, candidates: Array, events: Array, noise: int, null: int) -> tuple[Array, Array]:
    """What each candidate column would add to the score, one at a time, under one noise model and null mean.

    `candidates` is already weighed. Returns the gains `[n_candidates]` and the candidates' coefficients.
    """
    base = curve.weigh(np.concatenate([curve.null[:, list(curve.null_sets[null])], events], axis=1))
    q, _ = np.linalg.qr(_whiten(curve, noise, base))
    y = _whiten(curve, noise, curve.weigh(curve.y[:, None]))
    residual = y - q @ (q.T @ y)
    # [whitened residual, whitened base] pulled back through the symmetric whitener, so candidates stay as they are
    pulled = _whiten(curve, noise, np.concatenate([residual, q], axis=1))
    products = candidates.T @ pulled
    squares = _squares(curve, candidates, noise) - np.sum(products[:, 1:] ** 2, axis=1)
    ok = squares > 1e-6 * np.maximum(np.sum(candidates**2, axis=0), 1e-12)
    rss0 = float(np.sum(residual**2))
    squares = np.where(ok, squares, 1.0)
    drop = np.where(ok, products[:, 0] ** 2 / squares, 0.0)
    before = float(score_of(np.array(rss0), 0.0, curve))
    gain = score_of(np.maximum(rss0 - drop, 1e-12), 0.0, curve) - before
    return gain, np.where(ok, products[:, 0] / squares, 0.0)


def _squares(curve: Curve, candidates: Array, noise: int) -> Array:
    """Squared length of each candidate under the noise model."""
    model = curve.noise.models[noise]
    plain = np.sum(candidates**2, axis=0)
    if model.family < 0:
        return plain
    projected = curve.noise.bases[model.family].T @ candidates
    return plain - model.shrink @ projected**2
