"""GPT-2, whose Conv1D matrices already have TransformerLens' orientation, and whose embeddings are tied."""

import torch

from dynamics.architectures import numbered

FAMILY = "gpt2"

SITES = {
    "W_E": lambda p: p["transformer.wte.weight"],
    "W_U": lambda p: p.get("lm_head.weight", p["transformer.wte.weight"]).T,
    "W_out": lambda p: torch.stack(numbered(p, "transformer.h.{}.mlp.c_proj.weight")),
}
