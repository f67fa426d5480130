"""GPT-NeoX: Pythia and its kin."""

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PretrainedConfig

from dynamics.architectures import by_head, numbered

FAMILY = "gpt_neox"

SITES = {
    "W_E": lambda p: p["gpt_neox.embed_in.weight"],
    "W_U": lambda p: p["lm_head.weight"].T,
    "W_out": lambda p: torch.stack([w.T for w in numbered(p, "gpt_neox.layers.{}.mlp.dense_4h_to_h.weight")]),
    "ln1_w": lambda p: torch.stack(numbered(p, "gpt_neox.layers.{}.input_layernorm.weight")),
    "ln_final_w": lambda p: p["gpt_neox.final_layer_norm.weight"],
}


def _fused(p: Mapping[str, Tensor], config: PretrainedConfig, place: int) -> Tensor:
    """Query (0), key (1) or value (2) of the fused parameter, whose rows run head by head."""
    found = numbered(p, "gpt_neox.layers.{}.attention.query_key_value.weight")
    rows = [w.unflatten(0, (config.num_attention_heads, 3, -1))[:, place].flatten(0, 1) for w in found]
    return torch.stack([by_head(w, config) for w in rows])


HEAD_SITES = {
    "W_Q": lambda p, config: _fused(p, config, 0),
    "W_K": lambda p, config: _fused(p, config, 1),
    "W_V": lambda p, config: _fused(p, config, 2),
    "W_O": lambda p, config: torch.stack(
        [by_head(w.T, config).transpose(1, 2) for w in numbered(p, "gpt_neox.layers.{}.attention.dense.weight")]
    ),
}
