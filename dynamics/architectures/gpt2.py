"""GPT-2, whose Conv1D matrices already have TransformerLens' orientation, and whose embeddings are tied."""

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PretrainedConfig

from dynamics.architectures import by_head, numbered

FAMILY = "gpt2"

SITES = {
    "W_E": lambda p: p["transformer.wte.weight"],
    "W_U": lambda p: p.get("lm_head.weight", p["transformer.wte.weight"]).T,
    "W_out": lambda p: torch.stack(numbered(p, "transformer.h.{}.mlp.c_proj.weight")),
    "ln1_w": lambda p: torch.stack(numbered(p, "transformer.h.{}.ln_1.weight")),
    "ln_final_w": lambda p: p["transformer.ln_f.weight"],
}


def _fused(p: Mapping[str, Tensor], config: PretrainedConfig, place: int) -> Tensor:
    """Query (0), key (1) or value (2) of the fused parameter, which holds them one after the other."""
    found = numbered(p, "transformer.h.{}.attn.c_attn.weight")
    return torch.stack([by_head(w.chunk(3, dim=1)[place].T, config) for w in found])


HEAD_SITES = {
    "W_Q": lambda p, config: _fused(p, config, 0),
    "W_K": lambda p, config: _fused(p, config, 1),
    "W_V": lambda p, config: _fused(p, config, 2),
    "W_O": lambda p, config: torch.stack(
        [by_head(w, config).transpose(1, 2) for w in numbered(p, "transformer.h.{}.attn.c_proj.weight")]
    ),
}
