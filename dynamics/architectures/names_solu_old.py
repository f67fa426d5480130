"""State dicts of the first SoLU models (NeelNanda's `SoLU_*_old`), whose matrices lie the other way round.

Norms have other names; up to six layers every matrix is turned, and up to eight that of the positions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dynamics.architectures import names_transformer_lens
from dynamics.architectures.small_transformer import SmallTransformerConfig

TURNED, TURNED_POSITIONS = 6, 8  # layers up to which


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """They alone say `norm` where TransformerLens says `ln`."""
    return "embed.W_E" in tensors and "norm.w" in tensors and "blocks.0.norm1.w" in tensors


def config(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> SmallTransformerConfig:
    """As TransformerLens tells it."""
    return names_transformer_lens.config(convert(tensors), settings)


def convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors in TransformerLens' names and orientation."""
    n_layers = sum(name.endswith(".attn.W_Q") for name in tensors)
    turned = {}
    for name, tensor in names_transformer_lens.convert(tensors).items():
        is_position = name == "pos_embed.W_pos"
        limit = TURNED_POSITIONS if is_position else TURNED
        if ".W_" in name and n_layers <= limit:
            tensor = tensor.transpose(-2, -1)
        turned[re.sub(r"^ln\.", "ln_final.", name.replace("norm", "ln"))] = tensor
    return turned
