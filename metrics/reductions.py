"""Shared maths: sums over the entries of large tensors, in one pass each and without a copy. Registers no metric.

Entries are taken in parts that fit a processor's cache: float32 within a part, float64 across parts. Against float64
throughout that is a relative error below 1e-7 at half the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

Scalar = Float[Tensor, ""]
Weights = Mapping[str, Tensor]
PART = 1 << 17  # entries: much smaller ones cost as much to begin as to sum
Difference = tuple[Tensor, Tensor]

# Several metrics ask for the norm of the same tensor, or of the same change: remembered as long as the tensors
# live and nothing is written to them.
_norms, _distances = WeakTensorKeyDictionary(), WeakTensorKeyDictionary()


def inner(one: Tensor | Difference, other: Tensor | Difference) -> Scalar:
    """The sum of products of the entries of two tensors, or of differences of two.

    >>> inner(torch.tensor([1.0, 2.0]), (torch.tensor([3.0, 4.0]), torch.tensor([0.0, 1.0])))
    tensor(9., dtype=torch.float64)
    """
    found = torch.zeros((), dtype=torch.float64, device=(one if isinstance(one, Tensor) else one[0]).device)
    pairs = ((part, part) for part in _parts(one)) if other is one else zip(_parts(one), _parts(other), strict=True)
    for ours, theirs in pairs:
        found += (ours * theirs).sum()  # a dot product's order of summing depends on where in memory the entries lie
    return found


def sum_of_sizes(tensor: Tensor) -> Scalar:
    """The sum of the entries' absolute values.

    >>> sum_of_sizes(torch.tensor([1.0, -2.0]))
    tensor(3., dtype=torch.float64)
    """
    return torch.stack([part.abs().sum() for part in _parts(tensor)]).double().sum()


def _parts(of: Tensor | Difference) -> Iterator[Tensor]:
    """A tensor, or the difference of two, a few entries at a time."""
    if isinstance(of, Tensor):
        yield from (_single(part) for part in of.reshape(-1).split(PART))
        return
    for part, less in zip(*(tensor.reshape(-1).split(PART) for tensor in of), strict=True):
        yield _single(part) - _single(less)


def _single(part: Tensor) -> Tensor:
    return part if part.dtype == torch.float64 else part.float()


def norm(tensor: Tensor) -> Scalar:
    """The Frobenius norm, the square root of the sum of squares."""
    return _remembered(_norms, tensor, _written(tensor), lambda: inner(tensor, tensor).sqrt())


def distance(here: Tensor, there: Tensor) -> Scalar:
    """The Frobenius norm of the difference."""
    if here not in _distances:
        _distances[here] = WeakTensorKeyDictionary()
    written = None if _written(here) is None else (_written(here), _written(there))
    change = (here, there)
    return _remembered(_distances[here], there, written, lambda: inner(change, change).sqrt())


def _remembered(known: Any, tensor: Tensor, written: object, compute: Callable[[], Scalar]) -> Scalar:
    if written is None or tensor not in known or known[tensor][0] != written:
        known[tensor] = (written, compute())
    return known[tensor][1]


def _written(tensor: Tensor) -> int | None:
    """How often the tensor was written to; None where nobody counts."""
    return None if tensor.is_inference() else tensor._version


def share(part: Scalar, whole: Scalar) -> Scalar:
    """A part of the whole; of nothing there is no share."""
    return torch.where(whole > 0, part / whole, float("nan"))


def module_of(name: str) -> str:
    """The module that a parameter belongs to: the attention, MLP or norm of one layer, or what is outside the layers.

    >>> module_of("gpt_neox.layers.3.attention.dense.weight"), module_of("gpt_neox.embed_in.weight")
    ('gpt_neox.layers.3.attention', 'gpt_neox.embed_in')
    """
    parts = name.split(".")
    numbers = [place for place, part in enumerate(parts[:-1]) if part.isdigit()]
    return ".".join(parts[: numbers[0] + 2] if numbers else parts[:-1] or parts)


def by_module(values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Norms of parameters as norms of modules: the square root of the sum of their squares.

    >>> by_module({"layers.0.mlp.up": torch.tensor(3.0), "layers.0.mlp.down": torch.tensor(4.0)})
    {'layers.0.mlp': tensor(5.)}
    """
    squares: dict[str, Scalar] = {}
    for name, value in values.items():
        module = module_of(name)
        squares[module] = squares.get(module, torch.zeros_like(value)) + value.square()
    return {module: value.sqrt() for module, value in squares.items()}


def gini(tensor: Tensor) -> Scalar:
    """The Gini coefficient of the entries' absolute values, from how many there are of each.

    A small tensor is sorted, and half precision has few enough values to count them all. Of a large one of float32 the
    exponent and seven digits after it are counted, and an entry is taken as the middle of its bin: an error below 1e-5
    where entries are spread, and of 0.004 at most.
    """
    half = tensor.dtype in (torch.float16, torch.bfloat16)
    if half or tensor.numel() > PART:
        value, count = _counted(tensor, half)
    else:
        value = tensor.double().abs().flatten().sort().values
        count = torch.ones_like(value)
    before, n = count.cumsum(0) - count, count.sum()
    return (count * (2 * before + count - n) * value).sum() / (n * (count * value).sum())


def _counted(tensor: Tensor, half: bool) -> tuple[Tensor, Tensor]:
    """The absolute values in rising order, by the binary digits that are kept, and how many entries have each."""
    kind, sign, shift = (torch.int16, 0x7FFF, 0) if half else (torch.int32, 0x7FFFFFFF, 16)
    counts = torch.zeros(1 << 15, dtype=torch.int64, device=tensor.device)
    for part in tensor.reshape(-1).split(2 * PART):
        bits = (part if half else part.float()).view(kind)
        counts += torch.bincount((bits & sign) >> shift, minlength=len(counts))
    middle = (torch.arange(len(counts), device=tensor.device) << shift) + ((1 << shift) >> 1)
    values = middle.to(kind).view(tensor.dtype if half else torch.float32).double()
    values[0] = 0.0
    held = counts > 0
    return values[held], counts[held].double()
