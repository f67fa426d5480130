"""How large the weights are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from metrics.contract import metric


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
    return torch.stack([tensor.double().square().sum() for tensor in weights.values()]).sum()
