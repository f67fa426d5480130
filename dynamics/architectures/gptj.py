"""GPT-J: attention and MLP in parallel; the unembedding has a bias."""

import torch

from dynamics.architectures import numbered

FAMILY = "gptj"

SITES = {
    "W_E": lambda p: p["transformer.wte.weight"],
    "W_U": lambda p: p.get("lm_head.weight", p["transformer.wte.weight"]).T,
    "W_out": lambda p: torch.stack([w.T for w in numbered(p, "transformer.h.{}.mlp.fc_out.weight")]),
}
