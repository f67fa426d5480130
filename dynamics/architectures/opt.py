"""OPT: learned positions, two rows offset."""

import torch

from dynamics.architectures import numbered

FAMILY = "opt"

SITES = {
    "W_E": lambda p: p["model.decoder.embed_tokens.weight"],
    "W_U": lambda p: p.get("lm_head.weight", p["model.decoder.embed_tokens.weight"]).T,
    "W_out": lambda p: torch.stack([w.T for w in numbered(p, "model.decoder.layers.{}.fc2.weight")]),
}
