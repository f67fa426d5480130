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


def _solve(grams: Array, picks: list[list[int]]) -> tuple[Array, Array]:
    """Residual sum of squares of column 0 on each set of picked columns, and the coefficients.

    The sets are of one size: `[noise, set]` and `[noise, set, column]`.
    """
    index = np.array(picks)
    sub = grams[:, index[:, :, None], index[:, None, :]]  # [noise, set, column, column]
    trace = np.trace(sub, axis1=2, axis2=3)[:, :, None, None]
    sub = sub + 1e-10 * trace * np.eye(index.shape[1])
    cross = grams[:, index, 0]
    coefficients = np.linalg.solve(sub, cross[..., None])[..., 0]
    rss = grams[:, None, 0, 0] - np.sum(coefficients * cross, axis=2)
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
    picks = [[1 + c for c in columns] + tail for columns in curve.null_sets]
    scores = np.empty((len(log_det), len(picks)))
    solved: dict[int, tuple[Array, Array]] = {}
    for size in {len(p) for p in picks}:
        sets = [k for k, p in enumerate(picks) if len(p) == size]
        rss, coefficients = _solve(grams, [picks[k] for k in sets])
        charge = cost + NULL_COST * (size - n_events - 1)
        scores[:, sets] = score_of(rss, log_det[:, None], curve) - charge[:, None]
        solved.update({k: (rss[:, i], coefficients[:, i]) for i, k in enumerate(sets)})
    noise, null = (int(v) for v in np.unravel_index(int(np.argmax(scores)), scores.shape))
    sigma2 = max(float(solved[null][0][noise]) / max(curve.size - len(picks[null]), 1), curve.floor**2)
    return Fit(float(scores[noise, null]), noise, null, solved[null][1][noise], sigma2, scores)


def coefficient_errors(curve: Curve, events: Array, fit: Fit) -> Array:
    """Standard errors of the coefficients of a fit, in their order."""
    base = curve.weigh(np.concatenate([curve.null[:, list(curve.null_sets[fit.null])], events], axis=1))
    white = whiten(curve, fit.noise, base)
    return np.sqrt(np.maximum(np.diag(np.linalg.pinv(white.T @ white)) * fit.sigma2, 0.0))


def whiten(curve: Curve, noise: int, matrix: Array) -> Array:
    """Multiply by the inverse square root of the noise model's correlation."""
    model = curve.noise.models[noise]
    if model.family < 0:
        return matrix
    basis = curve.noise.bases[model.family]
    factor = 1.0 - np.sqrt(1.0 - model.shrink)
    return matrix - basis @ (factor[:, None] * (basis.T @ matrix))


@dataclass(frozen=True)
class Candidates:
    """Columns that may be added, divided by the relative noise, and their squared lengths `[noise, candidate]`."""

    matrix: Array
    squares: Array


def candidates_of(curve: Curve, matrix: Array, noises: list[int] | None = None) -> Candidates:
    """Prepare columns as candidates, under every noise model or under those in `noises` only."""
    weighed = np.ascontiguousarray(curve.weigh(matrix))
    plain = np.sum(weighed**2, axis=0)
    squares = np.zeros((len(curve.noise.models), weighed.shape[1]))
    squares[0] = plain
    projected: dict[int, Array] = {}
    for k in range(len(curve.noise.models)) if noises is None else noises:
        model = curve.noise.models[k]
        if model.family < 0:
            squares[k] = plain
            continue
        if model.family not in projected:
            projected[model.family] = (curve.noise.bases[model.family].T @ weighed) ** 2
        squares[k] = plain - model.shrink @ projected[model.family]
    return Candidates(weighed, squares)


def gains(curve: Curve, candidates: Candidates, events: Array, pairs: list[tuple[int, int]]) -> Array:
    """What each candidate would add to the score, one at a time: `[pair, candidate]`.

    `pairs` are the noise models and null means under which this is asked.
    """
    blocks, residuals = [], []
    y = curve.weigh(curve.y[:, None])
    for noise, null in pairs:
        base = curve.weigh(np.concatenate([curve.null[:, list(curve.null_sets[null])], events], axis=1))
        white = whiten(curve, noise, np.concatenate([y, base], axis=1))
        q, _ = np.linalg.qr(white[:, 1:])
        residual = white[:, :1] - q @ (q.T @ white[:, :1])
        residuals.append(float(np.sum(residual**2)))
        # pulled back through the symmetric whitener, so that the candidates stay as they are
        blocks.append(whiten(curve, noise, np.concatenate([residual, q], axis=1)))
    products = np.concatenate(blocks, axis=1).T @ candidates.matrix
    top = np.empty((len(pairs), candidates.matrix.shape[1]))
    squares = candidates.squares[[noise for noise, _ in pairs]]
    start = 0
    for row, block in enumerate(blocks):
        stop = start + block.shape[1]
        top[row] = products[start]
        squares[row] -= np.einsum("ij,ij->j", products[start + 1 : stop], products[start + 1 : stop])
        start = stop
    # a candidate that the base already spans adds nothing
    spanned = squares <= 1e-6 * candidates.squares[0]
    drop = np.where(spanned, 0.0, top**2 / np.where(spanned, 1.0, squares))
    rss = np.array(residuals)[:, None]
    return score_of(np.maximum(rss - drop, 1e-12), 0.0, curve) - score_of(rss, 0.0, curve)
