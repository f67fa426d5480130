"""State dicts in the names of the paper's own code for 'Progress measures for grokking' (Nanda et al. 2023).

Column vectors, so every matrix is the transpose of TransformerLens'; `W_O` is flat over heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dynamics.architectures import names_transformer_lens
from dynamics.architectures.small_transformer import SmallTransformerConfig


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """`W_O` is [d_model, n_heads * d_head] here."""
    w_o = tensors.get("blocks.0.attn.W_O")
    return "embed.W_E" in tensors and "unembed.W_U" in tensors and w_o is not None and w_o.ndim == 2


def config(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> SmallTransformerConfig:
    """The paper's network: ReLU, no LayerNorm, learned positions, biases in the MLP alone, untied."""
    return names_transformer_lens.config(convert(tensors), settings)


def convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors in TransformerLens' orientation."""
    heads, d_head, _ = tensors["blocks.0.attn.W_Q"].shape
    turned = {}
    for name, tensor in names_transformer_lens.convert(tensors).items():
        kind = name.rsplit(".", 1)[-1]
        if kind in ("W_E", "W_in", "W_out"):
            tensor = tensor.T
        elif kind in ("W_Q", "W_K", "W_V"):  # [head d_head d_model]
            tensor = tensor.transpose(1, 2)
        elif kind == "W_O":  # [d_model head*d_head]
            tensor = tensor.T.unflatten(0, (heads, d_head))
        turned[name] = tensor  # W_U, W_pos and the biases have one orientation in both
    return turned
