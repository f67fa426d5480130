"""Running a model once: up to what the unembedding reads, with our attention kernel, and no further."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import Tensor, nn
from transformers import PreTrainedModel

from dynamics.model import unembedding
from dynamics.sites import kernels, own_attention


class Enough(Exception):
    """Everything that is read has been read."""


def run(module: PreTrainedModel, tokens: Tensor, on_attention: kernels.OnAttention | None) -> Tensor | None:
    """The residual stream that the unembedding reads, [batch pos d_model]; None if a listener stopped the pass."""
    captured: list[Tensor] = []

    def capture(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        captured.append(args[0])
        raise Enough

    hook = unembedding(module).register_forward_pre_hook(capture)
    try:
        if on_attention is not None and own_attention.computes_its_own(module):
            with own_attention.overhearing(module, on_attention):
                module(input_ids=tokens, use_cache=False, output_attentions=True)
        else:
            with attention_kernel(module, kernels.NAME), kernels.listening(on_attention):
                module(input_ids=tokens, use_cache=False)
    except Enough:
        pass
    finally:
        hook.remove()
    return captured[0] if captured else None


@contextmanager
def attention_kernel(module: PreTrainedModel, name: str) -> Iterator[None]:
    """The model with another attention implementation, and afterwards its own again."""
    if own_attention.computes_its_own(module):
        with own_attention.eager(module) if name == "eager" else nullcontext():
            yield
        return
    before = module.config._attn_implementation or "eager"
    module.set_attn_implementation(name)
    try:
        yield
    finally:
        module.set_attn_implementation(before)
