"""The shape of the cloud that the residual stream makes: how many directions it fills, and whether it is a cone."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric
from metrics.similarity import by_layer

Residual = Float[Tensor, "batch n layer d_model"]


@metric(
    title="Directions that the residual stream fills", unit="directions", task="text", axes=("layer",), lower=1.0,
    per_example=False,
    source="Gao et al. 2017, 'A theory of multineuronal dimensionality, dynamics and measurement', participation ratio",
    undefined="all positions have the same vector, or a value is not finite",
)  # fmt: skip
def residual_participation_ratio(resid_post: Residual) -> Float[Tensor, " layer"]:
    """Over how many directions do the vectors of the residual stream spread?

    **Definition.** (sum lambda)^2 / sum lambda^2, with lambda the variances along the principal directions of the
    positions' vectors, their mean subtracted.

    **Reads.** `resid_post`, what each layer hands on at 64 positions of every example.

    **Returns** [layer], 1..d_model; d_model when all directions have one variance, 1 for a single direction. From n
    positions it cannot exceed n - 1, and d equal variances read as about d / (1 + d / n). NaN where all positions have
    the same vector.

    **Source.** Gao et al. 2017. A few directions of very large variance, which trained language models have, bring it
    close to 1; `anisotropy_standardised` is the measure that they do not rule.

    **Example.** Four points of a square fill two directions:

    >>> square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> residual_participation_ratio(square.view(4, 1, 1, 2))
    tensor([2.], dtype=torch.float64)
    """
    ratios = []
    for rows in by_layer(resid_post):
        centred = rows.double() - rows.double().mean(0)
        covariance = centred.T @ centred
        ratios.append(covariance.trace().square() / covariance.square().sum())
    return torch.stack(ratios)


@metric(
    title="Anisotropy", unit="cosine", task="text", axes=("layer",), lower=-1.0, upper=1.0, per_example=False,
    source="Ethayarajh 2019, 'How Contextual are Contextualized Word Representations?', section 3.3",
    undefined="there is one example, a position's vector is zero, or a value is not finite",
)  # fmt: skip
def anisotropy(resid_post: Residual) -> Float[Tensor, " layer"]:
    """Do the vectors of unrelated tokens point the same way?

    **Definition.** mean cosine of the vectors of two positions, over all pairs from different examples.

    **Reads.** `resid_post`, what each layer hands on at 64 positions of every example.

    **Returns** [layer], -1..1; 0 for directions at random, 1 when all point one way. NaN with a single example.

    **Source.** Ethayarajh 2019, average cosine of words from different contexts. Departure: all such pairs at the
    positions read, where the paper samples a thousand. One large coordinate is enough to bring it near 1: see
    `anisotropy_standardised`.

    **Example.** Two examples at a right angle:

    >>> anisotropy(torch.tensor([[1.0, 0.0], [0.0, 2.0]]).view(2, 1, 1, 2))
    tensor([0.], dtype=torch.float64)
    """
    return torch.stack([_mean_cosine(layer) for layer in resid_post.unbind(2)])


@metric(
    title="Anisotropy, every coordinate standardised", unit="cosine", task="text", axes=("layer",), lower=-1.0,
    upper=1.0, per_example=False,
    source="Timkey and van Schijndel 2021, 'All Bark and No Bite: Rogue Dimensions in Transformer Language Models'",
    undefined="there is one example, or a position's vector is the mean of all",
)  # fmt: skip
def anisotropy_standardised(resid_post: Residual) -> Float[Tensor, " layer"]:
    """Do the vectors of unrelated tokens point the same way, once no coordinate outweighs the others?

    **Definition.** As `anisotropy`, after each coordinate has been given mean 0 and variance 1 over the positions.

    **Reads.** `resid_post`, what each layer hands on at 64 positions of every example.

    **Returns** [layer], -1..1; about 0 for directions at random. NaN with a single example.

    **Source.** Timkey and van Schijndel 2021, who correct for the few coordinates that rule the cosine. A coordinate
    that never varies is left at 0.

    **Example.** A large constant coordinate, which makes the anisotropy 1, does nothing here:

    >>> rows = torch.tensor([[1.0, 1.0, 99.0], [-1.0, 1.0, 99.0], [1.0, -1.0, 99.0], [-1.0, -1.0, 99.0]])
    >>> anisotropy_standardised(rows.view(4, 1, 1, 3))
    tensor([-0.3333], dtype=torch.float64)
    """
    layers = []
    for layer in resid_post.double().unbind(2):
        centred = layer - layer.mean((0, 1))
        spread = centred.square().mean((0, 1)).sqrt()
        layers.append(_mean_cosine(centred / torch.where(spread > 0, spread, 1.0)))
    return torch.stack(layers)


def _mean_cosine(vectors: Float[Tensor, "batch n d_model"]) -> Float[Tensor, ""]:
    """Over all pairs of different examples: the pairs of all positions less those within an example."""
    vectors = vectors.double()
    batch, n = vectors.shape[:2]
    by_example = (vectors / vectors.norm(dim=-1, keepdim=True)).sum(1)
    pairs = (batch * batch - batch) * n * n
    return (by_example.sum(0).square().sum() - by_example.square().sum()) / pairs
