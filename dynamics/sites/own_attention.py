"""Attention of families that compute it in their own way, such as BLOOM's: the pattern that their eager code returns.

Each layer's pattern is handed on when it is made and then let go, so that they are never held together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from metrics.attention import Attention


def computes_its_own(module: PreTrainedModel) -> bool:
    """Whether the attention of a family cannot be replaced, and keeps silent about it when asked to be."""
    return not type(module)._can_set_attn_implementation()


@contextmanager
def eager(module: PreTrainedModel) -> Iterator[None]:
    """The model with the code that spells the pattern out, which is right with every mask."""
    before = module.config._attn_implementation
    module.config._attn_implementation_internal = "eager"
    try:
        yield
    finally:
        module.config._attn_implementation_internal = before


@contextmanager
def overhearing(module: PreTrainedModel, on_attention: Callable[[int, Attention], None]) -> Iterator[None]:
    """Hand each layer's attention to a function while the model runs eagerly."""
    hooks = []
    for layer, attention in enumerate(_attentions(module)):

        def hear(_: nn.Module, __: Any, output: tuple[Any, ...], layer: int = layer) -> tuple[Any, ...]:
            on_attention(layer, _of_pattern(output[1]))
            return output[0], None, *output[2:]

        hooks.append(attention.register_forward_hook(hear))
    try:
        with eager(module):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _attentions(module: PreTrainedModel) -> list[nn.Module]:
    """The outermost attention module of each layer, in order."""
    found: dict[str, nn.Module] = {}
    for name, part in module.named_modules():
        if type(part).__name__.endswith("Attention") and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = part
    return list(found.values())


def _of_pattern(pattern: Tensor) -> Attention:
    positions = pattern[..., :1]
    return Attention(positions, positions, positions[..., 0], 1.0, exact_pattern=pattern)
