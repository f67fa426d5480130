"""Llama. Tied models keep one matrix for both embeddings."""

import torch

from dynamics.architectures import by_head, numbered

FAMILY = "llama"

SITES = {
    "W_E": lambda p: p["model.embed_tokens.weight"],
    "W_U": lambda p: p.get("lm_head.weight", p["model.embed_tokens.weight"]).T,
    "W_out": lambda p: torch.stack([w.T for w in numbered(p, "model.layers.{}.mlp.down_proj.weight")]),
    "ln1_w": lambda p: torch.stack(numbered(p, "model.layers.{}.input_layernorm.weight")),
    "ln_final_w": lambda p: p["model.norm.weight"],
}
_PROJECTION = "model.layers.{}.self_attn.%s_proj.weight"
HEAD_SITES = {
    "W_Q": lambda p, config: torch.stack([by_head(w, config) for w in numbered(p, _PROJECTION % "q")]),
    "W_K": lambda p, config: torch.stack([by_head(w, config) for w in numbered(p, _PROJECTION % "k")]),
    "W_V": lambda p, config: torch.stack([by_head(w, config) for w in numbered(p, _PROJECTION % "v")]),
    "W_O": lambda p, config: torch.stack(
        [by_head(w.T, config).transpose(1, 2) for w in numbered(p, _PROJECTION % "o")]
    ),
}
