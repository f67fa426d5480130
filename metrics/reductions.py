"""Shared maths: sums over the entries of large tensors, in one pass each and without a copy. Registers no metric.

Entries are taken in parts that fit a processor's cache: float32 within a part, float64 across parts. Against float64
throughout that is a relative error below 1e-7 at half the time. Half precision has 65,536 values: its entries are
counted once, and norm, sum of sizes and Gini coefficient follow from the counts in float64, to its last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

T = TypeVar("T")
Scalar = Float[Tensor, ""]
Weights = Mapping[str, Tensor]
PART = 1 << 17  # entries: much smaller ones cost as much to begin as to sum
COUNTED = 1 << 19  # the same where entries are counted
FEW = 1 << 12  # entries of half precision that are sorted sooner than counted
Difference = tuple[Tensor, Tensor]

# Several metrics ask for the norm of the same tensor, or of the same change: remembered as long as the tensors
# live and nothing is written to them.
_norms, _distances, _sums = WeakTensorKeyDictionary(), WeakTensorKeyDictionary(), WeakTensorKeyDictionary()


class Sums(NamedTuple):
    """What is asked of a tensor's entries one by one."""

    norm: Scalar
    sizes: Scalar
    gini: Scalar


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
    if _is_half(tensor):
        return _sums_of_half(tensor).sizes
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
    if _is_half(tensor):
        return _sums_of_half(tensor).norm
    return _remembered(_norms, tensor, _written(tensor), lambda: inner(tensor, tensor).sqrt())


def distance(here: Tensor, there: Tensor) -> Scalar:
    """The Frobenius norm of the difference."""
    if here not in _distances:
        _distances[here] = WeakTensorKeyDictionary()
    written = None if _written(here) is None else (_written(here), _written(there))
    change = (here, there)
    return _remembered(_distances[here], there, written, lambda: inner(change, change).sqrt())


def _remembered(known: Any, tensor: Tensor, written: object, compute: Callable[[], T]) -> T:
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
    return _sums_of_half(tensor).gini if _is_half(tensor) else _gini(*_counted(tensor))


def _gini(value: Tensor, count: Tensor) -> Scalar:
    before, n = count.cumsum(0) - count, count.sum()
    return (count * (2 * before + count - n) * value).sum() / (n * (count * value).sum())


def _is_half(tensor: Tensor) -> bool:
    return tensor.dtype in (torch.float16, torch.bfloat16)


def _sums_of_half(tensor: Tensor) -> Sums:
    def count() -> Sums:
        values, counts = _counted(tensor)
        return Sums((counts * values.square()).sum().sqrt(), (counts * values).sum(), _gini(values, counts))

    return _remembered(_sums, tensor, _written(tensor), count)


def _counted(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """The absolute values in rising order, by the binary digits that are kept, and how many entries have each."""
    entries = tensor.reshape(-1)
    if len(entries) <= (FEW if _is_half(tensor) else PART):
        values = entries.double().abs().sort().values
        return values, torch.ones_like(values)
    kind, sign, shift = (torch.int16, 0x7FFF, 0) if _is_half(tensor) else (torch.int32, 0x7FFFFFFF, 16)
    counts = torch.zeros(1 << 15, dtype=torch.int64, device=tensor.device)
    codes = torch.empty(COUNTED, dtype=kind, device=tensor.device)  # one buffer, which stays in the cache
    for part in entries.split(COUNTED):
        code = codes[: len(part)]
        torch.bitwise_and((part.float() if shift else part).view(kind), sign, out=code)
        found = torch.bincount(code >> shift if shift else code)  # as many as the largest needs: less to begin with
        counts[: len(found)] += found
    held = counts > 0
    return _values(tensor.dtype if _is_half(tensor) else torch.float32).to(tensor.device)[held], counts[held].double()


@cache
def _values(dtype: torch.dtype) -> Tensor:
    """The absolute values that 15 binary digits after the sign stand for; of float32 the middle of each bin."""
    codes = torch.arange(1 << 15, dtype=torch.int32)
    if dtype != torch.float32:
        return codes.to(torch.int16).view(dtype).double()
    values = ((codes << 16) + (1 << 15)).view(torch.float32).double()
    values[0] = 0.0
    return values
