"""How large the weights are, how far they have come and how far they have to go, and how few hold it."""

from __future__ import annotations

import torch

from metrics.contract import metric
from metrics.reductions import Scalar, Weights, by_module, distance, gini, inner, norm, share, sum_of_sizes

ByParameter = dict[str, Scalar]


@metric(
    title="Sum of squared weights",
    unit="squared weight",
    lower=0.0,
    source="Nanda et al. 2023, 'Progress measures for grokking via mechanistic interpretability', section 5.1",
    undefined="a weight is not finite",
)
def sum_of_squared_weights(weights: Weights) -> Scalar:
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
    return torch.stack([norm(tensor) for tensor in weights.values()]).square().sum()


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
    return {name: norm(tensor) for name, tensor in weights.items()}


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
    return {name: share(distance(weights[name], first), norm(first)) for name, first in weights_first.items()}


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
    return {name: share(distance(weights[name], final), norm(final)) for name, final in weights_final.items()}


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
        name: inner(weights[name], final) / (norm(weights[name]) * norm(final))
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
        found[name] = (root - sum_of_sizes(tensor) / norm(tensor)) / (root - 1)
    return found


@metric(
    title="Gini coefficient of each parameter", unit="fraction", axes=("label",), lower=0.0, upper=1.0,
    source="Hurley and Rickard 2009, 'Comparing Measures of Sparsity', section II",
    undefined="a parameter is zero, or a weight is not finite",
)  # fmt: skip
def gini_sparsity(weights: Weights) -> ByParameter:
    """How unevenly is each parameter's size spread over its entries?

    **Definition.** sum over i of (2 i - n - 1) |w|_(i) / (n sum |w|), |w|_(1) <= ... <= |w|_(n) the sorted absolute
    values of the n entries.

    **Reads.** `weights`, every parameter by name.

    **Returns** name -> 0 (all alike in size) .. 1 - 1/n (a single entry). A normal distribution gives
    sqrt(2) - 1 = 0.414 for many entries, an even one 1/3. NaN for a zero parameter.

    **Source.** Hurley and Rickard 2009, section II, where it has all six properties asked of a measure of sparsity;
    `hoyer_sparsity` has five. Departure: the entries of a large parameter of float32 are counted by their first
    binary digits, in place of sorting them: an error below 1e-5 for entries that are spread.

    **Example.** One entry of four:

    >>> gini_sparsity({"W": torch.tensor([[0.0, 0.0], [5.0, 0.0]])})
    {'W': tensor(0.7500, dtype=torch.float64)}
    """
    return {name: gini(tensor) for name, tensor in weights.items()}


@metric(
    title="Norm of each module", unit="weight", axes=("label",), lower=0.0,
    source="Frobenius norm over the parameters of one layer's attention, MLP or norm",
    undefined="a weight is not finite",
)  # fmt: skip
def module_norm(weights: Weights) -> ByParameter:
    """How large is each module: the attention, the MLP, each norm of each layer, the embeddings?

    **Definition.** The square root of the sum of squares over all parameters of the module. A module is what a
    parameter's name has up to the part after the layer's number, or without one all but its last part.

    **Reads.** `weights`, every parameter by name.

    **Returns** module -> number >= 0. NaN where a weight is not finite.

    **Source.** The usual Frobenius norm.

    **Example.**

    >>> module_norm({"layers.0.mlp.up.weight": torch.tensor([3.0]), "layers.0.mlp.down.weight": torch.tensor([4.0])})
    {'layers.0.mlp': tensor(5., dtype=torch.float64)}
    """
    return by_module(weight_norm(weights))
