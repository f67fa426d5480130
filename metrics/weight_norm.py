"""How large the weights are, how far they have come and how far they have to go, and how few hold it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric

Weights = Mapping[str, Tensor]
ByParameter = dict[str, Float[Tensor, ""]]
CACHED = 1 << 16  # entries


@metric(
    title="Sum of squared weights",
    unit="squared weight",
    lower=0.0,
    source="Nanda et al. 2023, 'Progress measures for grokking via mechanistic interpretability', section 5.1",
    undefined="a weight is not finite",
)
def sum_of_squared_weights(weights: Mapping[str, Tensor]) -> Tensor:
    """How large are the weights in all?

    **Definition.** The sum of the squares of every parameter, in float64. Tied parameters count once; buffers, such
    as attention masks, do not count.

    **Reads.** `weights`, every parameter by name.

    **Returns** one exact number, >= 0. NaN where a weight is not finite.

    **Source.** Nanda et al. 2023, section 5.1: it falls as weight decay removes the memorising solution.

    **Example.**

    >>> sum_of_squared_weights({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0]])})
    tensor(14., dtype=torch.float64)
    """
    return torch.stack([_sum(torch.square, tensor) for tensor in weights.values()]).sum()


@metric(
    title="Norm of each parameter", unit="weight", axes=("label",), lower=0.0, source="Frobenius norm by parameter",
    undefined="a weight is not finite",
)  # fmt: skip
def weight_norm(weights: Weights) -> ByParameter:
    """How large is each parameter?

    **Definition.** The square root of the sum of its squares, in float64.

    **Reads.** `weights`, every parameter by name.

    **Returns** name -> number >= 0. NaN where a weight is not finite.

    **Source.** The usual Frobenius norm.

    **Example.**

    >>> weight_norm({"W": torch.tensor([[3.0, 0.0], [0.0, 4.0]])})
    {'W': tensor(5., dtype=torch.float64)}
    """
    return {name: _norm(tensor) for name, tensor in weights.items()}


@metric(
    title="Distance from the first checkpoint", unit="fraction", axes=("label",), lower=0.0,
    source="Nagarajan and Kolter 2019, 'Generalization in deep networks: the role of distance from initialization'",
    undefined="a parameter is zero at the first checkpoint, or a weight is not finite",
)  # fmt: skip
def distance_from_first(weights: Weights, weights_first: Weights) -> ByParameter:
    """How far has each parameter come since the first checkpoint?

    **Definition.** ||W - W_first|| / ||W_first||, Frobenius norms in float64.

    **Reads.** `weights`, and `weights_first` of the series' first checkpoint, which is initialisation only where that
    was saved.

    **Returns** name -> number >= 0, 0 at the first checkpoint. NaN for a parameter that is zero there, as biases are.

    **Source.** Nagarajan and Kolter 2019. Departure: by parameter, and as a share of the first norm.

    **Example.**

    >>> distance_from_first({"W": torch.tensor([3.0, 0.0])}, {"W": torch.tensor([1.0, 0.0])})
    {'W': tensor(2., dtype=torch.float64)}
    """
    return {name: _relative(weights[name], first) for name, first in weights_first.items()}


@metric(
    title="Distance to the final checkpoint", unit="fraction", axes=("label",), lower=0.0,
    source="distance in weight space to the end of training, by parameter",
    undefined="a parameter is zero at the last checkpoint, or a weight is not finite",
)  # fmt: skip
def distance_to_final(weights: Weights, weights_final: Weights) -> ByParameter:
    """How far has each parameter still to go?

    **Definition.** ||W - W_final|| / ||W_final||, Frobenius norms in float64.

    **Reads.** `weights`, and `weights_final` of the series' last checkpoint.

    **Returns** name -> number >= 0, 0 at the last checkpoint, about sqrt(1 + (||W|| / ||W_final||)^2) while the two
    are unrelated. NaN for a parameter that is zero at the last checkpoint.

    **Source.** The counterpart of `distance_from_first`.

    **Example.**

    >>> distance_to_final({"W": torch.tensor([3.0, 0.0])}, {"W": torch.tensor([2.0, 0.0])})
    {'W': tensor(0.5000, dtype=torch.float64)}
    """
    return {name: _relative(weights[name], final) for name, final in weights_final.items()}


@metric(
    title="Cosine to the final checkpoint", unit="cosine", axes=("label",), lower=-1.0, upper=1.0,
    source="cosine similarity in weight space, by parameter",
    undefined="a parameter is zero, or a weight is not finite",
)  # fmt: skip
def cosine_to_final(weights: Weights, weights_final: Weights) -> ByParameter:
    """Does each parameter already point where it will end?

    **Definition.** <W, W_final> / (||W|| ||W_final||), in float64.

    **Reads.** `weights`, and `weights_final` of the series' last checkpoint.

    **Returns** name -> -1..1, 1 at the last checkpoint, about 0 for unrelated weights. NaN for a parameter that is
    zero at either.

    **Source.** The usual cosine similarity; unlike `distance_to_final` it does not see the norm.

    **Example.**

    >>> cosine_to_final({"W": torch.tensor([3.0, 4.0])}, {"W": torch.tensor([2.0, 0.0])})
    {'W': tensor(0.6000, dtype=torch.float64)}
    """
    return {
        name: _sum(torch.mul, weights[name], final) / (_norm(weights[name]) * _norm(final))
        for name, final in weights_final.items()
    }


@metric(
    title="Hoyer sparsity of each parameter", unit="fraction", axes=("label",), lower=0.0, upper=1.0,
    source="Hoyer 2004, 'Non-negative Matrix Factorization with Sparseness Constraints', section 3.1",
    undefined="a parameter is zero or has a single entry, or a weight is not finite",
)  # fmt: skip
def hoyer_sparsity(weights: Weights) -> ByParameter:
    """How few entries hold each parameter's weight?

    **Definition.** (sqrt(n) - ||W||_1 / ||W||_2) / (sqrt(n) - 1) over the n entries, in float64.

    **Reads.** `weights`, every parameter by name.

    **Returns** name -> 0 (all alike in size) .. 1 (a single entry). A normal distribution gives
    1 - sqrt(2 / pi) = 0.202 for many entries. NaN for a zero parameter and for a single entry.

    **Source.** Hoyer 2004, section 3.1.

    **Example.** One entry of four:

    >>> hoyer_sparsity({"W": torch.tensor([[0.0, 0.0], [5.0, 0.0]])})
    {'W': tensor(1., dtype=torch.float64)}
    """
    found = {}
    for name, tensor in weights.items():
        root = torch.tensor(float(tensor.numel()), dtype=torch.float64).sqrt()
        found[name] = (root - _sum(torch.abs, tensor) / _norm(tensor)) / (root - 1)
    return found


def _norm(tensor: Tensor) -> Float[Tensor, ""]:
    return _sum(torch.square, tensor).sqrt()


def _relative(tensor: Tensor, reference: Tensor) -> Float[Tensor, ""]:
    """The distance as a share of the reference's norm; of a zero reference there is no share."""
    distance = _sum(lambda here, there: (here - there).square(), tensor, reference).sqrt()
    size = _norm(reference)
    return torch.where(size > 0, distance / size, float("nan"))


def _sum(of: Callable[..., Tensor], *tensors: Tensor) -> Float[Tensor, ""]:
    """The sum of a function of each entry, in float64, by parts that fit a processor's cache: no copy of the whole."""
    total = torch.zeros((), dtype=torch.float64, device=tensors[0].device)
    for parts in zip(*(tensor.reshape(-1).split(CACHED) for tensor in tensors), strict=True):
        total += of(*(part.double() for part in parts)).sum()
    return total
