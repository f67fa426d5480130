"""Shared maths of comparing two sets of vectors for the same rows. Registers no metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

Rows = Float[Tensor, "row d_model"]
Made = TypeVar("Made")

# Directions with less than this share of the largest variance are rounding of 32-bit activations.
ROUNDING = 1e-10


# What was made of the vectors of a checkpoint that others are compared with: as long as they live.
_prepared = WeakTensorKeyDictionary()


def by_layer(resid_post: Float[Tensor, "batch n layer d_model"]) -> list[Rows]:
    """Each layer's vectors, one row for each position of each example."""
    return [layer.flatten(0, 1) for layer in resid_post.unbind(2)]


def prepared(resid_post: Float[Tensor, "batch n layer d_model"], prepare: Callable[[Rows], Made]) -> list[Made]:
    """What is made of each layer's vectors, once for all that is compared with them."""
    if resid_post.is_inference():  # nobody counts how often it was written to
        return [prepare(rows) for rows in by_layer(resid_post)]
    if resid_post not in _prepared:
        _prepared[resid_post] = {}
    known: dict[Any, Any] = _prepared[resid_post]
    key = prepare, resid_post._version
    if key not in known:
        # A view would hold on to the vectors, and be remembered for ever.
        known[key] = [prepare(rows.clone()) for rows in by_layer(resid_post)]
    return known[key]


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

    rows       [row d_model], as they came
    whitening  [d_model k], from centred rows to scores
    loadings   [k d_model], how much of each column every direction carries: scores @ loadings are the centred rows
    """

    rows: Tensor
    whitening: Tensor
    loadings: Tensor

    @cached_property
    def scores(self) -> Tensor:
        """[row k], orthonormal columns: the centred rows along each direction, scaled to length 1."""
        rows = self.rows.double()
        return (rows - rows.mean(0)) @ self.whitening

    @classmethod
    def of(cls, rows: Rows, share: float = 1.0) -> Basis:
        """The fewest principal directions that hold this share of the variance; those of rounding are left out."""
        centred = rows.double() - rows.double().mean(0)
        if not torch.isfinite(centred).all():
            return cls(rows, centred.T[:, :0], centred[:0])  # no directions, so no correlations either
        variances, directions = torch.linalg.eigh(centred.T @ centred)
        variances, directions = variances.flip(0).clamp(min=0), directions.flip(1)
        kept = int((variances > ROUNDING * variances[0]).sum())
        if share < 1 and kept:
            enough = variances.cumsum(0) >= share * variances.sum()
            kept = min(kept, int(enough.int().argmax()) + 1)
        sizes = variances[:kept].sqrt()
        return cls(rows, directions[:, :kept] / sizes, (directions[:, :kept] * sizes).T)


def canonical_correlations(x: Basis, y: Basis) -> tuple[Tensor, Tensor] | None:
    """The correlations, largest first, and how much each direction of x carries of x's columns.

    None where the rows are too few for the directions: then some of them coincide by necessity.
    """
    directions = x.whitening.shape[1], y.whitening.shape[1]
    if not min(directions) or sum(directions) > len(x.rows) - 1:
        return None
    # The scores of x have the mean 0, so that the rows of y need not be centred.
    between = (x.scores.T @ y.rows.double()) @ y.whitening
    left, correlations, _ = torch.linalg.svd(between, full_matrices=False)
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
