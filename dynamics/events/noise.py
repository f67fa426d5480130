"""Noise of a training curve: white noise plus one correlated process, and the smooth null means.

Training curves wander: evaluation noise is not all there is, and neighbouring checkpoints share it. A detector
that assumes white noise finds events in any random walk. Each model here is `sigma^2 (I + rho R)` with R an
autoregression, a random walk in x, a random walk in checkpoint number, or a slow Gaussian process; which one,
and how strong, is chosen by likelihood anew for every hypothesis. R is kept as its leading eigenvectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RANK = 48
SLOW_LENGTH = 1.5  # decades: wiggles of the slow process that are faster than this count as structure
NULL_EXPONENTS = (0.1, 0.2, 0.35, 0.6)
STRENGTHS = {
    "ar": (1.0, 6.0),
    "walk_x": (1.0, 6.0, 36.0, 216.0),
    "walk_index": (1.0, 6.0, 36.0, 216.0, 1296.0),
    "slow": (1.0, 10.0, 100.0, 1000.0),
}


@dataclass(frozen=True)
class NoiseModel:
    """`sigma^2 (I + V diag(lam) V')`; `shrink` is lam / (1 + lam), so the inverse is `I - V diag(shrink) V'`."""

    name: str
    family: int  # which of the bases; -1 is white
    shrink: Array
    log_det: float


@dataclass(frozen=True)
class NoiseSet:
    """Every noise model of one grid. `bases[k]` is `[n_checkpoints, rank]` with orthonormal columns."""

    bases: tuple[Array, ...]
    models: tuple[NoiseModel, ...]


def _kernels(x: Array) -> dict[str, Array]:
    n = len(x)
    index = np.arange(n)
    lag = np.abs(index[:, None] - index[None, :])
    travelled = x - x[0]
    walk_x = np.minimum(travelled[:, None], travelled[None, :]) / max(x[-1] - x[1], 1e-9)
    walk_index = np.minimum(index[:, None], index[None, :]) / max(n - 1, 1)
    slow = np.exp(-0.5 * ((x[:, None] - x[None, :]) / SLOW_LENGTH) ** 2)
    return {"ar": 0.7**lag, "walk_x": walk_x, "walk_index": walk_index, "slow": slow}


@lru_cache(maxsize=64)
def _roots(key: bytes) -> dict[str, Array]:
    """For each process a matrix B with `B B' = R`, `[n_checkpoints, rank]`."""
    out = {}
    for name, kernel in _kernels(np.frombuffer(key)).items():
        lam, vectors = np.linalg.eigh(kernel)
        keep = np.argsort(lam)[::-1][: min(RANK, len(lam))]
        keep = keep[lam[keep] > 1e-6]
        out[name] = vectors[:, keep] * np.sqrt(lam[keep])
    return out


def _noise_set(roots: dict[str, Array], scale: Array | None) -> NoiseSet:
    bases: list[Array] = []
    models = [NoiseModel("white", -1, np.empty(0), 0.0)]
    for family, (name, root) in enumerate(roots.items()):
        if scale is None:
            lam = np.sum(root**2, axis=0)
            basis = root / np.sqrt(lam)
        else:
            basis, singular, _ = np.linalg.svd(root / scale[:, None], full_matrices=False)
            lam = singular**2
        bases.append(np.ascontiguousarray(basis))
        for strength in STRENGTHS[name]:
            scaled = strength * lam
            models.append(NoiseModel(name, family, scaled / (1 + scaled), float(np.log1p(scaled).sum())))
    return NoiseSet(tuple(bases), tuple(models))


@lru_cache(maxsize=64)
def _even_noise(key: bytes) -> NoiseSet:
    return _noise_set(_roots(key), None)


def noise_models(x: Array, scale: Array | None = None) -> NoiseSet:
    """The noise models of a grid after division by `scale` (relative noise sd of each checkpoint; None is even)."""
    key = np.ascontiguousarray(x, dtype=float).tobytes()
    return _even_noise(key) if scale is None else _noise_set(_roots(key), scale)


def null_means(x: Array) -> tuple[Array, tuple[tuple[int, ...], ...]]:
    """Columns of the smooth null means and the sets of them that are tried.

    Columns: constant, x, step^-b for several b. Sets: constant; line in x; power law (each b).
    """
    steps = 10.0**x
    powers = [(steps / steps[0]) ** -b for b in NULL_EXPONENTS]
    matrix = np.stack([np.ones_like(x), x - x.mean(), *powers], axis=1)
    return matrix, ((0,), (0, 1), *((0, 2 + k) for k in range(len(powers))))
