"""Attention kernels that give, beside their output, what attention scores are computed from.

Registered with transformers as an attention implementation, so that every architecture's own code calls it with its
rotated queries and keys, its mask and its scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from metrics.attention import Attention

NAME = "dynamics"
OnAttention = Callable[[int, Attention], None]
_listener: ContextVar[OnAttention | None] = ContextVar("attention_listener", default=None)


class Intervention:
    """What is done to attention while it is computed; this one does nothing."""

    def asked(self, layer: int, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """The queries [batch head pos d_head] and keys to use in place of the layer's own."""
        return query, key

    def said(self, layer: int, output: Tensor) -> Tensor:
        """What the heads say, [batch pos head d_head], in place of their own."""
        return output


_intervention: ContextVar[Intervention | None] = ContextVar("attention_intervention", default=None)


@contextmanager
def intervening(intervention: Intervention | None) -> Iterator[None]:
    """Let an intervention see and change every layer's attention while the model runs."""
    token = _intervention.set(intervention)
    try:
        yield
    finally:
        _intervention.reset(token)


@contextmanager
def listening(on_attention: OnAttention | None) -> Iterator[None]:
    """Hand each layer's attention to a function while the model runs; without one, only compute the output."""
    token = _listener.set(on_attention)
    try:
        yield
    finally:
        _listener.reset(token)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """One layer's attention, with transformers' signature: [batch head pos d] in, [batch pos head d] out."""
    intervention = _intervention.get()
    if intervention is None:
        return _attend(module, query, key, value, attention_mask, scaling, **settings), None
    layer = int(module.layer_idx)  # pyright: ignore[reportArgumentType]
    query, key = intervention.asked(layer, query, key)
    output = _attend(module, query, key, value, attention_mask, scaling, **settings)
    return intervention.said(layer, output), None


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None,
    **settings: Any,
) -> Tensor:
    listener = _listener.get()
    if listener is None and not settings.get("softcap") and settings.get("s_aux") is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **settings)[0]
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    is_causal = settings.get("is_causal")
    if attention_mask is None and not (module.is_causal if is_causal is None else is_causal):
        attention_mask = query.new_zeros(1, 1, query.shape[2], key.shape[2])  # no mask means causal below
    output, attention = compute(
        query, key, value, attention_mask, scale, softcap=settings.get("softcap"), sinks=settings.get("s_aux")
    )
    if listener is not None:
        listener(int(module.layer_idx), attention)  # pyright: ignore[reportArgumentType]
    return output.transpose(1, 2)


def compute(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float,
    *,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> tuple[Tensor, Attention]:
    """The output [batch head pos d_head] and the attention site, by the fused kernel where it gives both."""
    short = softcap is None and sinks is None and value.shape[-1] == query.shape[-1]
    if short and (fused := _fused(query, key, value, mask, scale)) is not None:
        output, lse = fused
        return output, Attention(query, key, lse, scale, mask)
    return _exact(query, key, value, mask, scale, softcap, sinks)


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor] | None:
    """Output and log-sum-exp of the device's fused kernel, or None where it has none that gives both."""
    bias = _additive(mask, q.dtype)
    causal = mask is None
    if q.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, causal, attn_mask=bias, scale=scale
        )
    if q.device.type == "cuda":
        if bias is None and q.dtype in (torch.float16, torch.bfloat16) and q.shape[-1] <= 256:
            output, lse = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, True, False, scale=scale)[:2]
        else:
            if bias is not None:
                bias = bias.expand(q.shape[0], q.shape[1], -1, -1)
            output, lse = torch.ops.aten._scaled_dot_product_efficient_attention(
                q, k, v, bias, True, 0.0, causal, scale=scale
            )[:2]
        return output, lse[..., : q.shape[2]]  # the kernel pads its queries
    return None


def _exact(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, softcap: float | None, sinks: Tensor | None
) -> tuple[Tensor, Attention]:
    """The pattern spelt out: for soft-capped scores, attention sinks, and devices without a fused kernel."""
    scores = (q @ k.transpose(2, 3)).float() * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    bias = _additive(mask, scores.dtype)
    if bias is None:
        seen = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~seen, float("-inf"))
    else:
        scores = scores + bias
    lse = scores.logsumexp(-1)
    if sinks is not None:  # a learned score that takes part in the softmax and attends to nothing
        lse = torch.logaddexp(lse, sinks.float().view(1, -1, 1))
    pattern = (scores - lse[..., None]).exp()
    return pattern.to(v.dtype) @ v, Attention(q, k, lse, scale, mask, exact_pattern=pattern)


def _additive(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if mask is None or mask.dtype != torch.bool:
        return None if mask is None else mask.to(dtype)
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, float("-inf"))


ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
