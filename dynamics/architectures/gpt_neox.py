"""GPT-NeoX: Pythia and its kin."""

import torch

from dynamics.architectures import numbered

FAMILY = "gpt_neox"

SITES = {
    "W_E": lambda p: p["gpt_neox.embed_in.weight"],
    "W_U": lambda p: p["lm_head.weight"].T,
    "W_out": lambda p: torch.stack([w.T for w in numbered(p, "gpt_neox.layers.{}.mlp.dense_4h_to_h.weight")]),
}
