"""Llama. Tied models keep one matrix for both embeddings."""

import torch

from dynamics.architectures import numbered

FAMILY = "llama"

SITES = {
    "W_E": lambda p: p["model.embed_tokens.weight"],
    "W_U": lambda p: p.get("lm_head.weight", p["model.embed_tokens.weight"]).T,
    "W_out": lambda p: torch.stack([w.T for w in numbered(p, "model.layers.{}.mlp.down_proj.weight")]),
}
