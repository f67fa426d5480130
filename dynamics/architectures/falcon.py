"""Falcon."""

import torch

from dynamics.architectures import numbered

FAMILY = "falcon"

SITES = {
    "W_E": lambda p: p["transformer.word_embeddings.weight"],
    "W_U": lambda p: p.get("lm_head.weight", p["transformer.word_embeddings.weight"]).T,
    "W_out": lambda p: torch.stack([w.T for w in numbered(p, "transformer.h.{}.mlp.dense_4h_to_h.weight")]),
}
