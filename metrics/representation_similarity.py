"""Do two layers, or two checkpoints, represent the same? Debiased CKA, SVCCA and PWCCA on the residual stream.

None of them sees a rotation of the whole space. The two of canonical correlations see no invertible linear map at
all, and so need many more positions than directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric
from metrics.similarity import Basis, Centred, by_layer, cka, prepared, pwcca, svcca

Residual = Float[Tensor, "batch n layer d_model"]
Layers = Float[Tensor, " layer"]
Pairs = Float[Tensor, "layer layer"]
Made = TypeVar("Made")

KORNBLITH = "Kornblith et al. 2019, 'Similarity of Neural Network Representations Revisited'"
DEBIASED = f"{KORNBLITH}; Song et al. 2012, unbiased HSIC"
RAGHU = "Raghu et al. 2017, 'SVCCA'; code of google/svcca"
MORCOS = "Morcos et al. 2018, 'Insights on representational similarity in neural networks with canonical correlation'"
FEW = "the positions are fewer than the directions compared, all have one vector, or a value is not finite"
SHARE = 0.99  # of the variance, which SVCCA keeps


@metric(
    title="Similarity to the final representation (CKA)", unit="fraction", task="text", axes=("layer",), upper=1.0,
    per_example=False, source=DEBIASED, undefined="fewer than four positions, or all have the same vector",
)  # fmt: skip
def cka_to_final(resid_post: Residual, resid_post_final: Residual) -> Layers:
    """How near is what a layer represents to what it represents in the end?

    **Definition.** HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)) with linear kernels and the unbiased estimator of HSIC;
    X are the layer's vectors at this checkpoint, Y those of the same layer and positions at the last.

    **Reads.** `resid_post` and `resid_post_final`, at 64 positions of every example.

    **Returns** [layer], at most 1; 1 at the last checkpoint and for a rotation or scaling of it, about 0 (either side)
    for unrelated vectors, whatever their number. NaN below four positions.

    **Source.** Kornblith et al. 2019, with the estimator of Song et al. 2012. The usual, biased one gives unrelated
    vectors about d / (n + d). Directions of large variance rule it.

    **Example.** A square and the same square turned by 45 degrees:

    >>> square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]]).view(5, 1, 1, 2)
    >>> cka_to_final(square, square @ torch.tensor([[1.0, 1.0], [-1.0, 1.0]])).round(decimals=5)
    tensor([1.], dtype=torch.float64)
    """
    return _matched(resid_post, resid_post_final, Centred.of, cka)


@metric(
    title="Similarity to the final representation (SVCCA)", unit="correlation", task="text", axes=("layer",),
    lower=0.0, upper=1.0, per_example=False, source=RAGHU, undefined=FEW,
)  # fmt: skip
def svcca_to_final(resid_post: Residual, resid_post_final: Residual) -> Layers:
    """Do the directions that matter in a layer match those that matter in the end?

    **Definition.** mean canonical correlation between the principal directions of X that hold 99 % of its variance and
    those of Y; X are the layer's vectors at this checkpoint, Y those at the last.

    **Reads.** `resid_post` and `resid_post_final`, at 64 positions of every example.

    **Returns** [layer], 0..1; 1 at the last checkpoint. Unrelated vectors do not give 0: their squared correlations
    have the mean max(k, l) / (n - 1) for k and l directions and n positions. NaN where k + l exceeds n - 1, since
    some directions then coincide by necessity.

    **Source.** Raghu et al. 2017. Departure: NaN with too few positions, where their code gives a number.

    **Example.** An invertible map of all directions leaves it at 1:

    >>> x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]]).view(5, 1, 1, 2)
    >>> svcca_to_final(x, x @ torch.tensor([[1.0, 1.0], [0.0, 1.0]])).round(decimals=5)
    tensor([1.], dtype=torch.float64)
    """
    return _matched(resid_post, resid_post_final, _principal, svcca)


@metric(
    title="Similarity to the final representation (PWCCA)", unit="correlation", task="text", axes=("layer",),
    lower=0.0, upper=1.0, per_example=False, source=MORCOS, undefined=FEW,
)  # fmt: skip
def pwcca_to_final(resid_post: Residual, resid_post_final: Residual) -> Layers:
    """How much of what a layer carries is there, up to a linear map, in the end?

    **Definition.** sum alpha_i rho_i / sum alpha_i over the canonical correlations rho_i between X and Y, with
    alpha_i = sum_j |<h_i, x_j>| what the i-th canonical direction h_i of X carries of X's coordinates x_j. X are the
    layer's vectors at this checkpoint, Y those at the last.

    **Reads.** `resid_post` and `resid_post_final`, at 64 positions of every example.

    **Returns** [layer], 0..1; 1 at the last checkpoint and for any invertible linear map of it. Chance and NaN as
    `svcca_to_final`, with every direction counted.

    **Source.** Morcos et al. 2018. The weights are those of this checkpoint, so it is not symmetric. Directions with
    less than 1e-10 of the largest variance are taken for rounding.

    **Example.** An invertible map of all directions leaves it at 1:

    >>> x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]]).view(5, 1, 1, 2)
    >>> pwcca_to_final(x, x @ torch.tensor([[1.0, 1.0], [0.0, 1.0]])).round(decimals=5)
    tensor([1.], dtype=torch.float64)
    """
    return _matched(resid_post, resid_post_final, Basis.of, pwcca)


@metric(
    title="Similarity to the representation before (CKA)", unit="fraction", task="text", axes=("layer",), upper=1.0,
    per_example=False, source=DEBIASED,
    undefined="there is no checkpoint before, fewer than four positions, or all have the same vector",
)  # fmt: skip
def cka_to_previous(resid_post: Residual, resid_post_previous: Residual) -> Layers:
    """Did what a layer represents change since the checkpoint before?

    **Definition.** The debiased linear CKA of `cka_to_final`, with the checkpoint before in place of the last.

    **Reads.** `resid_post` and `resid_post_previous`, at 64 positions of every example.

    **Returns** [layer], at most 1, and 1 where nothing changed but rotation and scale. NaN at the first checkpoint.
    Checkpoints that lie further apart are less alike: a dip counts where the gaps are even.

    **Source.** Kornblith et al. 2019, with the estimator of Song et al. 2012.

    **Example.** The same square, twice as large:

    >>> square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]]).view(5, 1, 1, 2)
    >>> cka_to_previous(square, 2 * square).round(decimals=5)
    tensor([1.], dtype=torch.float64)
    """
    return _matched(resid_post, resid_post_previous, Centred.of, cka)


@metric(
    title="Similarity to the representation before (PWCCA)", unit="correlation", task="text", axes=("layer",),
    lower=0.0, upper=1.0, per_example=False, source=MORCOS, undefined=f"there is no checkpoint before, {FEW}",
)  # fmt: skip
def pwcca_to_previous(resid_post: Residual, resid_post_previous: Residual) -> Layers:
    """Did what a layer carries change since the checkpoint before, by more than a linear map?

    **Definition.** The weighted mean canonical correlation of `pwcca_to_final`, with the checkpoint before in place of
    the last.

    **Reads.** `resid_post` and `resid_post_previous`, at 64 positions of every example.

    **Returns** [layer], 0..1; chance and NaN as `pwcca_to_final`, and NaN at the first checkpoint.

    **Source.** Morcos et al. 2018.

    **Example.** An invertible map of all directions leaves it at 1:

    >>> x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]]).view(5, 1, 1, 2)
    >>> pwcca_to_previous(x, x @ torch.tensor([[1.0, 1.0], [0.0, 1.0]])).round(decimals=5)
    tensor([1.], dtype=torch.float64)
    """
    return _matched(resid_post, resid_post_previous, Basis.of, pwcca)


@metric(
    title="Similarity between layers (CKA)", unit="fraction", task="text", axes=("layer", "index"), upper=1.0,
    per_example=False, source=DEBIASED, undefined="fewer than four positions, or all have the same vector",
)  # fmt: skip
def cka_between_layers(resid_post: Residual) -> Pairs:
    """Which layers represent the same?

    **Definition.** The debiased linear CKA of `cka_to_final` between every two layers of one checkpoint.

    **Reads.** `resid_post`, what each layer hands on at 64 positions of every example.

    **Returns** [layer index], the index being the other layer; at most 1, and 1 of a layer with itself. Layers add to
    one stream, so neighbours are alike from the start. NaN below four positions.

    **Source.** Kornblith et al. 2019, with the estimator of Song et al. 2012.

    **Example.** Two layers that are the same but for their scale:

    >>> square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]])
    >>> cka_between_layers(torch.stack([square, 3 * square], 1).view(5, 1, 2, 2)).round(decimals=5)
    tensor([[1., 1.],
            [1., 1.]], dtype=torch.float64)
    """
    return _every_pair(resid_post, Centred.of, cka)


@metric(
    title="Similarity between layers (SVCCA)", unit="correlation", task="text", axes=("layer", "index"), lower=0.0,
    upper=1.0, per_example=False, source=RAGHU, undefined=FEW,
)  # fmt: skip
def svcca_between_layers(resid_post: Residual) -> Pairs:
    """Which layers have the same directions that matter?

    **Definition.** The mean canonical correlation of `svcca_to_final` between every two layers of one checkpoint.

    **Reads.** `resid_post`, what each layer hands on at 64 positions of every example.

    **Returns** [layer index], the index being the other layer; 0..1. Chance and NaN as `svcca_to_final`.

    **Source.** Raghu et al. 2017.

    **Example.** One layer with itself:

    >>> square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]])
    >>> svcca_between_layers(square.view(5, 1, 1, 2)).round(decimals=5)
    tensor([[1.]], dtype=torch.float64)
    """
    return _every_pair(resid_post, _principal, svcca)


@metric(
    title="Similarity between layers (PWCCA)", unit="correlation", task="text", axes=("layer", "index"), lower=0.0,
    upper=1.0, per_example=False, source=MORCOS, undefined=FEW,
)  # fmt: skip
def pwcca_between_layers(resid_post: Residual) -> Pairs:
    """How much of what one layer carries is there, up to a linear map, in another?

    **Definition.** The weighted mean canonical correlation of `pwcca_to_final` between every two layers of one
    checkpoint; the weights are those of `layer`.

    **Reads.** `resid_post`, what each layer hands on at 64 positions of every example.

    **Returns** [layer index], the index being the other layer; 0..1. Chance and NaN as `pwcca_to_final`.

    **Source.** Morcos et al. 2018.

    **Example.** One layer with itself:

    >>> square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]])
    >>> pwcca_between_layers(square.view(5, 1, 1, 2)).round(decimals=5)
    tensor([[1.]], dtype=torch.float64)
    """
    return _every_pair(resid_post, Basis.of, pwcca)


def _principal(rows: Tensor) -> Basis:
    return Basis.of(rows, SHARE)


def _matched(
    ours: Residual, theirs: Residual, prepare: Callable[[Tensor], Made], compare: Callable[[Made, Made], float]
) -> Layers:
    pairs = zip(by_layer(ours), prepared(theirs, prepare), strict=True)
    return torch.tensor([compare(prepare(x), y) for x, y in pairs], dtype=torch.float64)


def _every_pair(
    resid_post: Residual, prepare: Callable[[Tensor], Made], compare: Callable[[Made, Made], float]
) -> Pairs:
    layers: Sequence[Made] = [prepare(rows) for rows in by_layer(resid_post)]
    return torch.tensor([[compare(x, y) for y in layers] for x in layers], dtype=torch.float64)
