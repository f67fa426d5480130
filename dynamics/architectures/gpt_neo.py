"""GPT-Neo: local attention in every other layer."""

import torch

from dynamics.architectures import numbered

FAMILY = "gpt_neo"

SITES = {
    "W_E": lambda p: p["transformer.wte.weight"],
    "W_U": lambda p: p.get("lm_head.weight", p["transformer.wte.weight"]).T,
    "W_out": lambda p: torch.stack([w.T for w in numbered(p, "transformer.h.{}.mlp.c_proj.weight")]),
}
