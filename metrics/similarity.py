"""Shared maths of comparing two sets of vectors for the same rows. Registers no metric."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Rows = Float[Tensor, "row d_model"]

# Directions with less than this share of the largest variance are rounding of 32-bit activations.
ROUNDING = 1e-10


def by_layer(resid_post: Float[Tensor, "batch n layer d_model"]) -> list[Rows]:
    """Each layer's vectors, one row for each position of each example."""
    return [layer.flatten(0, 1) for layer in resid_post.unbind(2)]


@dataclass(frozen=True)
class Centred:
    """Rows less their mean, with what every comparison of them needs."""

    rows: Rows
    lengths: Float[Tensor, " row"]  # squared
    own: float  # the dependence of these rows on themselves

    @classmethod
    def of(cls, rows: Rows) -> Centred:
        """Centre the rows."""
        rows = rows - rows.mean(0)
        lengths = rows.square().sum(1).double()
        return cls(rows, lengths, _dependence(rows, rows, lengths, lengths))


def cka(x: Centred, y: Centred) -> float:
    """Debiased linear CKA: HSIC_1(x, y) / sqrt(HSIC_1(x, x) HSIC_1(y, y)). NaN below four rows or without variance.

    HSIC_1 is the unbiased estimator of Song et al. 2012 on linear kernels, whose diagonals are set to 0. For centred
    rows its three terms need no matrix of row by row: they come from the cross-product of the columns and from the
    squared lengths of the rows. It does not change when a constant is added to all rows.
    """
    if len(x.rows) < 4 or not (x.own > 0 and y.own > 0):
        return float("nan")
    return _dependence(x.rows, y.rows, x.lengths, y.lengths) / (x.own * y.own) ** 0.5


def _dependence(x: Rows, y: Rows, lengths_x: Tensor, lengths_y: Tensor) -> float:
    """HSIC_1 times n (n - 3), of centred rows."""
    n = len(x)
    both = float(lengths_x @ lengths_y)
    cross = float((x.T @ y).double().square().sum())
    if n < 4:
        return float("nan")
    return cross - both + float(lengths_x.sum() * lengths_y.sum()) / ((n - 1) * (n - 2)) - 2 * both / (n - 2)


@dataclass(frozen=True)
class Basis:
    """The directions in which rows vary.

    scores    [row k], orthonormal columns: the centred rows along each direction, scaled to length 1
    loadings  [k d_model], how much of each column every direction carries: scores @ loadings are the centred rows
    """

    scores: Tensor
    loadings: Tensor

    @classmethod
    def of(cls, rows: Rows, share: float = 1.0) -> Basis:
        """The fewest principal directions that hold this share of the variance; those of rounding are left out."""
        rows = rows.double()
        rows = rows - rows.mean(0)
        if not torch.isfinite(rows).all():
            return cls(rows[:, :0], rows[:0])  # no directions, so no correlations either
        variances, directions = torch.linalg.eigh(rows.T @ rows)
        variances, directions = variances.flip(0).clamp(min=0), directions.flip(1)
        kept = int((variances > ROUNDING * variances[0]).sum())
        if share < 1 and kept:
            enough = variances.cumsum(0) >= share * variances.sum()
            kept = min(kept, int(enough.int().argmax()) + 1)
        sizes = variances[:kept].sqrt()
        return cls(rows @ directions[:, :kept] / sizes, (directions[:, :kept] * sizes).T)


def canonical_correlations(x: Basis, y: Basis) -> tuple[Tensor, Tensor] | None:
    """The correlations, largest first, and how much each direction of x carries of x's columns.

    None where the rows are too few for the directions: then some of them coincide by necessity.
    """
    directions = x.scores.shape[1], y.scores.shape[1]
    if not min(directions) or sum(directions) > len(x.scores) - 1:
        return None
    left, correlations, _ = torch.linalg.svd(x.scores.T @ y.scores, full_matrices=False)
    carried = (left.T @ x.loadings).abs().sum(1)
    return correlations.clamp(max=1), carried


def svcca(x: Basis, y: Basis) -> float:
    """The mean canonical correlation; NaN where the rows are too few."""
    found = canonical_correlations(x, y)
    return float("nan") if found is None else float(found[0].mean())


def pwcca(x: Basis, y: Basis) -> float:
    """The mean canonical correlation, each weighted by what its direction carries of x; NaN as `svcca`."""
    found = canonical_correlations(x, y)
    if found is None:
        return float("nan")
    correlations, carried = found
    return float((correlations * carried).sum() / carried.sum())
