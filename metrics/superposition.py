"""How features share dimensions (Elhage et al. 2022, 'Toy Models of Superposition')."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric

PAPER = "Elhage et al. 2022, 'Toy Models of Superposition'"
W_ = Float[Tensor, "d_hidden n_features"]

REPRESENTED = 0.5  # a feature whose direction is shorter is not learnt
# Shares of a dimension that regular arrangements give: absent, square antiprism, pentagon, digon, triangle,
# tetrahedron, a dimension of its own.
STICKY = (0.0, 3 / 8, 2 / 5, 1 / 2, 2 / 3, 3 / 4, 1.0)
STICKY_LABELS = ("0", "3/8", "2/5", "1/2", "2/3", "3/4", "1", "none")
NEAR = 0.0125  # half of the smallest gap between two of them, so that none is near two


@metric(
    title="Reconstruction loss", unit="squared error", task="sparse_features", lower=0.0,
    source=f"{PAPER}, 'Demonstrating superposition'", undefined="an output is not finite",
)  # fmt: skip
def reconstruction_loss(
    inputs: Float[Tensor, "example feature"],
    outputs: Float[Tensor, "example feature"],
    importance: Float[Tensor, " feature"],
) -> Float[Tensor, " example"]:
    """How well do the features come through the bottleneck?

    **Definition.** sum_i I_i (x_i - x'_i)^2 with the importance I_i of each feature.

    **Reads.** `inputs`, `outputs` [example feature]; `importance` [feature].

    **Returns** one value per example, >= 0. NaN where an output is not finite.

    **Source.** Elhage et al. 2022. On a fixed large batch, since the noise of a training batch hides the stages.

    **Example.** Features 1 and 2 of importance 1 and 0.5, both put out as 0: 1 + 0.5 * 4 = 3.

    >>> reconstruction_loss(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2), torch.tensor([1.0, 0.5]))
    tensor([3.])
    """
    return ((inputs - outputs).square() * importance).sum(1)


@metric(
    title="Dimensions that a feature has to itself", unit="dimensions", task="sparse_features", axes=("index",),
    lower=0.0, upper=1.0, per_example=False, source=f"{PAPER}, 'The geometry of superposition'",
    undefined="a feature's direction is shorter than a hundredth",
)  # fmt: skip
def feature_dimensionality(W: W_) -> Float[Tensor, " feature"]:
    """What share of a dimension does each feature have to itself?

    **Definition.** D_i = |W_i|^2 / sum_j (u_i . W_j)^2, with W_i the direction of feature i and u_i its unit vector.

    **Reads.** `W` [d_hidden n_features].

    **Returns** [feature], 0..1: 1 alone, 1/2 opposite to another, 2/5 in a pentagon. NaN for a feature whose
    direction is shorter than 0.01: a unit vector of it would be noise. Values of directions shorter than about half
    say little.

    **Source.** Elhage et al. 2022, section on the geometry of superposition; the bound of 0.01 is ours.

    **Example.** Two opposite features and one of its own:

    >>> feature_dimensionality(torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 2.0]]))
    tensor([0.5000, 0.5000, 1.0000], dtype=torch.float64)
    """
    return _dimensionality(W, shortest=0.01)


@metric(
    title="Sum of the features' dimensions", unit="dimensions", task="sparse_features", lower=0.0, per_example=False,
    source=f"{PAPER}, 'The geometry of superposition'", undefined="no feature has a direction",
)  # fmt: skip
def dimensionality_sum(W: W_) -> Tensor:
    """Are the dimensions packed efficiently?

    **Definition.** sum_i D_i over the features whose direction is not shorter than 0.01.

    **Reads.** `W` [d_hidden n_features].

    **Returns** one exact number: never more than d_hidden, and d_hidden where the represented features are spread
    evenly over all dimensions. NaN when no feature has a direction.

    **Source.** Elhage et al. 2022: the dimensionalities "add up to the number of embedding dimensions".

    **Example.**

    >>> dimensionality_sum(torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 2.0]]))
    tensor(2., dtype=torch.float64)
    """
    shares = _dimensionality(W, shortest=0.01)
    return shares.nansum() if shares.isfinite().any() else shares.new_tensor(torch.nan)


@metric(
    title="Dimensions per feature", unit="dimensions", task="sparse_features", lower=0.0, per_example=False,
    source=f"{PAPER}, 'The geometry of superposition'", undefined="all weights are zero",
)  # fmt: skip
def dimensions_per_feature(W: W_) -> Tensor:
    """How many dimensions does the network spend on a feature, on average?

    **Definition.** D* = d_hidden / |W|_F^2: the squared norm counts the features that are represented.

    **Reads.** `W` [d_hidden n_features].

    **Returns** one exact number, > 0; 1 without superposition, 1/2 with antipodal pairs. NaN when W is zero.

    **Source.** Elhage et al. 2022, on uniform superposition.

    **Example.** Four unit directions in two dimensions:

    >>> dimensions_per_feature(torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]]))
    tensor(0.5000, dtype=torch.float64)
    """
    squared = W.double().square().sum()
    return W.shape[0] / squared.where(squared > 0, torch.nan)


@metric(
    title="Interference between features", unit="squared product", task="sparse_features", lower=0.0,
    per_example=False, source=f"{PAPER}, 'Demonstrating superposition'", undefined="a weight is not finite",
)  # fmt: skip
def interference(W: W_) -> Tensor:
    """How much do the features disturb each other?

    **Definition.** The sum over i != j of (W_i . W_j)^2.

    **Reads.** `W` [d_hidden n_features].

    **Returns** one exact number, >= 0. NaN where a weight is not finite.

    **Source.** Elhage et al. 2022, whose figures colour each feature by its share of this sum.

    **Example.** One pair of opposite unit features, counted from both sides:

    >>> interference(torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 2.0]]))
    tensor(2., dtype=torch.float64)
    """
    products = W.double().T @ W.double()
    return products.square().sum() - products.diagonal().square().sum()


@metric(
    title="Features represented (direction longer than a half)", unit="features", task="sparse_features", lower=0.0,
    per_example=False, source=f"{PAPER}, 'Demonstrating superposition'", undefined="a weight is not finite",
)  # fmt: skip
def features_represented(W: W_) -> Tensor:
    """How many features does the network represent at all?

    **Definition.** The number of features with |W_i| > 0.5.

    **Reads.** `W` [d_hidden n_features].

    **Returns** one exact number in 0 .. n_features. NaN where a weight is not finite.

    **Source.** Elhage et al. 2022: in their figures |W_i| is near 0 or near 1. The half is ours.

    **Example.**

    >>> features_represented(torch.tensor([[1.0, -1.0, 0.1], [0.0, 0.0, 0.1]]))
    tensor(2., dtype=torch.float64)
    """
    lengths = W.double().norm(dim=0)
    count = (lengths > REPRESENTED).double().sum()
    return count.where(lengths.isfinite().all(), torch.nan)


@metric(
    title="Features near each sticky share of a dimension", unit="fraction", task="sparse_features", axes=("label",),
    labels=STICKY_LABELS, lower=0.0, upper=1.0, per_example=False,
    source=f"{PAPER}, 'The geometry of superposition'", undefined="a weight is not finite",
)  # fmt: skip
def sticky_fraction(W: W_) -> Float[Tensor, " label"]:
    """Which regular arrangements do the features settle in?

    **Definition.** The share of the features whose D_i is within 0.0125 of 3/8, 2/5, 1/2, 2/3, 3/4 or 1; a feature
    with |W_i| <= 0.5 counts as 0, not learnt; the others as none. The shares add up to 1.

    **Reads.** `W` [d_hidden n_features].

    **Returns** [label], 0..1. NaN where a weight is not finite.

    **Source.** Elhage et al. 2022: square antiprism, pentagon, digon, triangle, tetrahedron. The paper draws the
    levels; the width of a level is ours, half of the distance between the closest two.

    **Example.** Two opposite features, one of its own, one not learnt:

    >>> sticky_fraction(torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.1]]))
    tensor([0.2500, 0.0000, 0.0000, 0.5000, 0.0000, 0.0000, 0.2500, 0.0000],
           dtype=torch.float64)
    """
    learnt = W.double().norm(dim=0) > REPRESENTED
    shares = _dimensionality(W, shortest=0.0).where(learnt, 0.0)
    near = (shares[:, None] - shares.new_tensor(STICKY)).abs() <= NEAR
    near[:, 0] = ~learnt
    placed = torch.cat([near, ~near.any(1, keepdim=True)], 1).double()
    return placed.mean(0).where(W.isfinite().all(), torch.nan)


@metric(
    title="Products of the features' directions (W^T W, row by row)", unit="product", task="sparse_features",
    axes=("index",), per_example=False, source=f"{PAPER}, 'Demonstrating superposition'",
    undefined="a weight is not finite",
)  # fmt: skip
def feature_products(W: W_) -> Float[Tensor, " pair"]:
    """Which features share a direction, which oppose each other, which are orthogonal?

    **Definition.** W_i . W_j for all i and j.

    **Reads.** `W` [d_hidden n_features].

    **Returns** [pair], index i * n_features + j: |W_i|^2 where i = j. A rotation of all directions changes nothing.
    NaN where a weight is not finite.

    **Source.** Elhage et al. 2022, whose figures show this matrix.

    **Example.** Two opposite features and one of its own:

    >>> feature_products(torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 2.0]])).view(3, 3)
    tensor([[ 1., -1.,  0.],
            [-1.,  1.,  0.],
            [ 0.,  0.,  4.]], dtype=torch.float64)
    """
    return (W.double().T @ W.double()).flatten()


@metric(
    title="Features that jumped by over 0.15 dimensions",
    unit="features", task="sparse_features", lower=0.0, per_example=False,
    source=f"{PAPER}, 'Discrete \"energy level\" jumps'",
    undefined="no checkpoint is before this one, or a weight is not finite",
)  # fmt: skip
def dimensionality_jumps(W: W_, W_previous: W_) -> Tensor:
    """Do features jump from one share of a dimension to another?

    **Definition.** The number of features that are represented (|W_i| > 0.5) at this checkpoint and the one before,
    and whose D_i differs by more than 0.15 between the two.

    **Reads.** `W` [d_hidden n_features]; `W_previous`, the same at the checkpoint before.

    **Returns** one exact number in 0 .. n_features. NaN at the first checkpoint, which has none before it.

    **Source.** Elhage et al. 2022 show features that jump between levels and give no threshold; 0.15 is ours: from
    1/2 to 2/3 is a jump, from 2/5 to 1/2 and from 2/3 to 3/4 is none. Checkpoints that are far apart make a jump of
    any slow change.

    **Example.** One that was alone now has an opposite, which was not represented before:

    >>> before, now = torch.tensor([[1.0, 0.0], [0.0, 0.1]]), torch.tensor([[1.0, -1.0], [0.0, 0.0]])
    >>> dimensionality_jumps(now, before)
    tensor(1., dtype=torch.float64)
    """
    there = (W.double().norm(dim=0) > REPRESENTED) & (W_previous.double().norm(dim=0) > REPRESENTED)
    moved = (_dimensionality(W, shortest=0.0) - _dimensionality(W_previous, shortest=0.0)).abs() > 0.15
    count = (there & moved).double().sum()
    return count.where(W.isfinite().all() & W_previous.isfinite().all(), torch.nan)


def _dimensionality(W: W_, *, shortest: float) -> Float[Tensor, " feature"]:  # noqa: N803  (the paper's name)
    products = W.double().T @ W.double()
    squared = products.diagonal()
    # |W_i|^2 / sum_j (W_i . W_j)^2 |W_i|^-2, so that no unit vector is formed.
    return squared.square() / products.square().sum(1).where(squared > shortest**2, torch.nan)
