"""nanoGPT's `ckpt.pt`: GPT-2 with linear layers in place of Conv1D, biases or none, and its sizes in `model_args`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config

from dynamics.errors import CheckpointError

# torch.compile puts this before every name.
_COMPILED = "_orig_mod."
_TURNED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
_BIASED = re.compile(r"transformer\.(?:h\.\d+\.(?:ln_[12]|(?:attn|mlp)\.c_(?:attn|fc|proj))|ln_f)\.weight")


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """A GPT-2 of Hugging Face has the same names, but comes with a configuration and with Conv1D's shapes."""
    plain = {name.removeprefix(_COMPILED): tensor for name, tensor in tensors.items()}
    c_attn = plain.get("transformer.h.0.attn.c_attn.weight")
    return c_attn is not None and c_attn.shape[0] == 3 * c_attn.shape[1]


def config(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> GPT2Config:
    """Sizes from the shapes and the number of heads from `model_args`, which alone knows it."""
    if "n_head" not in settings:
        msg = "a nanoGPT state dict without its 'model_args' does not tell the number of heads; keep the whole ckpt.pt"
        raise CheckpointError(msg)
    converted = convert(tensors)
    d_vocab, d_model = converted["transformer.wte.weight"].shape
    return GPT2Config(
        vocab_size=d_vocab,
        n_positions=converted["transformer.wpe.weight"].shape[0],
        n_embd=d_model,
        n_layer=sum(name.endswith("attn.c_attn.weight") for name in converted),
        n_head=int(settings["n_head"]),
        activation_function="gelu",  # the exact one
        bos_token_id=None,
        eos_token_id=None,
    )


def convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under Hugging Face's shapes; biases that were trained without are zero."""
    converted = {}
    for name, tensor in tensors.items():
        plain = name.removeprefix(_COMPILED)
        if not plain.endswith(("attn.bias", "attn.masked_bias")):  # the causal mask, a buffer
            converted[plain] = tensor.T if plain.endswith(_TURNED) else tensor
    for name in [name for name in converted if _BIASED.fullmatch(name)]:
        weight = converted[name]
        converted.setdefault(name.removesuffix("weight") + "bias", torch.zeros(weight.shape[-1], dtype=weight.dtype))
    return converted
