"""OPT: learned positions, two rows offset; opt-350m embeds in half of its width, with a map in and a map out."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dynamics.architectures import numbered

FAMILY = "opt"

EMBEDDING = "model.decoder.embed_tokens.weight"


def _embed(p: Mapping[str, Tensor]) -> Tensor:
    inward = p.get("model.decoder.project_in.weight")
    return p[EMBEDDING] if inward is None else p[EMBEDDING] @ inward.T


def _unembed(p: Mapping[str, Tensor]) -> Tensor:
    head, outward = p.get("lm_head.weight", p[EMBEDDING]), p.get("model.decoder.project_out.weight")
    return (head if outward is None else head @ outward).T


SITES = {
    "W_E": _embed,
    "W_U": _unembed,
    "W_out": lambda p: torch.stack([w.T for w in numbered(p, "model.decoder.layers.{}.fc2.weight")]),
}
