"""Shared maths of singular values. Registers no metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

Spectra = Mapping[str, Float[Tensor, " rank"]]


def spectra(weights: Mapping[str, Tensor]) -> dict[str, Float[Tensor, " rank"]]:
    """The singular values of every weight matrix, largest first, in float64.

    A parameter of three dimensions, such as [head d_model d_head] or one matrix per expert, is that many matrices:
    `name.0`, `name.1`, ... Vectors have no spectrum.
    """
    found = {}
    for name, tensor in weights.items():
        if tensor.ndim == 2:
            found[name] = singular_values(tensor)
        elif tensor.ndim == 3:
            found |= {f"{name}.{i}": singular_values(part) for i, part in enumerate(tensor)}
    return found


def singular_values(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, " rank"]:
    """Largest first, from the eigenvalues of the smaller Gram matrix in float64.

    That is many times faster than a singular value decomposition of a long matrix; values below 1e-8 of the largest
    are rounding. All NaN where an entry is not finite.

    >>> singular_values(torch.tensor([[0.0, 3.0], [4.0, 0.0], [0.0, 0.0]]))
    tensor([4., 3.], dtype=torch.float64)
    """
    short = min(matrix.shape)
    if not torch.isfinite(matrix).all():
        return torch.full((short,), float("nan"), dtype=torch.float64, device=matrix.device)
    wide = (matrix if matrix.shape[0] == short else matrix.T).double()
    return torch.linalg.eigvalsh(wide @ wide.T).flip(0).clamp(min=0).sqrt()


def by_matrix(
    spectra: Spectra, value: Callable[[Float[Tensor, " rank"]], Tensor]
) -> dict[str, Float[Tensor, ""]]:
    """A number of each spectrum; NaN for a matrix that is zero or not finite, whose shares are undefined."""
    nothing = torch.tensor(float("nan"), dtype=torch.float64)
    return {name: value(sv) if len(sv) and sv[0] > 0 else nothing.to(sv.device) for name, sv in spectra.items()}


def entropy(shares: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """-sum p ln p in nats; 0 ln 0 is 0."""
    return torch.special.entr(shares).sum()


def power_law(values: Float[Tensor, " n"], smallest_tail: int = 10) -> tuple[float, float]:
    """The exponent of the power law that fits the tail best, and its Kolmogorov-Smirnov distance.

    For each x_min that leaves at least `smallest_tail` values: alpha = 1 + m / sum ln(x / x_min) over the m values
    from x_min up, and D the largest distance between the tail's cumulative shares and 1 - (x / x_min)^(1 - alpha).
    The x_min with the smallest D is taken (Clauset, Shalizi and Newman 2009). NaN with fewer positive values.
    """
    x = values[values > 0].double().sort().values
    best = (float("nan"), float("nan"))
    for start in range(len(x) - smallest_tail + 1):
        tail = x[start:]
        logs = (tail / tail[0]).log()
        if float(logs.sum()) <= 0:
            continue  # a tail of equal values has no exponent
        alpha = 1 + len(tail) / float(logs.sum())
        below = torch.arange(len(tail), dtype=torch.float64, device=x.device) / len(tail)
        distance = float((below - (1 - torch.exp((1 - alpha) * logs))).abs().max())
        if not distance >= best[1]:
            best = (alpha, distance)
    return best
