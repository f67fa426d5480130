"""State dicts in TransformerLens' names: the grokking and toy-model runs that were saved from HookedTransformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dynamics.architectures.small_transformer import ACTIVATIONS, NEURON_NORM, SmallTransformerConfig
from dynamics.errors import CheckpointError

# Masks and placeholders that TransformerLens saves among the parameters.
_BUFFERS = ("attn.mask", "attn.IGNORE", "rotary_sin", "rotary_cos")


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """`W_O` has an axis for heads here; the papers' own code has it flat."""
    w_o = tensors.get("blocks.0.attn.W_O")
    return "embed.W_E" in tensors and "unembed.W_U" in tensors and w_o is not None and w_o.ndim == 3


def config(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> SmallTransformerConfig:
    """Sizes from the shapes. What cannot be told from them is as TransformerLens' own configuration says: else the
    activation is ReLU, and there are norms where these have parameters."""
    activation = str(settings.get("act_fn") or settings.get("act_type") or "relu").lower()
    if activation.removesuffix(NEURON_NORM) not in ACTIVATIONS and "blocks.0.mlp.W_in" in tensors:
        msg = f"activation {activation!r} is not known; expected one of {', '.join(ACTIVATIONS)}, solu_ln"
        raise CheckpointError(msg)
    heads, d_model, d_head = tensors["blocks.0.attn.W_Q"].shape
    w_in = tensors.get("blocks.0.mlp.W_in")
    norm = _norm(settings, "LN" if "ln_final.w" in tensors else None)
    return SmallTransformerConfig(
        d_vocab=tensors["embed.W_E"].shape[0],
        n_ctx=tensors["pos_embed.W_pos"].shape[0],
        n_layers=sum(name.endswith(".attn.W_Q") for name in tensors),
        n_heads=heads,
        d_model=d_model,
        d_head=d_head,
        d_mlp=0 if w_in is None else w_in.shape[1],
        activation="relu" if w_in is None else activation,
        layer_norm=norm is not None,
        norm_parameters="ln_final.w" in tensors,
        neuron_norm_parameters="blocks.0.mlp.ln.w" in tensors,
        final_rms=bool(settings.get("final_rms")),
        layer_norm_eps=float(settings.get("eps", 1e-5)),
        shortformer=bool(settings.get("shortformer_pos")) or settings.get("positional_embedding_type") == "shortformer",
        attention_bias="blocks.0.attn.b_Q" in tensors,
        mlp_bias="blocks.0.mlp.b_in" in tensors,
        unembed_bias="unembed.b_U" in tensors,
    )


def _norm(settings: Mapping[str, Any], found: str | None) -> str | None:
    """Which norm there is: LN, or LNPre without parameters; None where there is none."""
    if "normalization" not in settings and "normalization_type" not in settings:
        return found
    named = settings.get("normalization", settings.get("normalization_type"))
    if named not in (None, "LN", "LNPre"):
        msg = f"normalization {named!r} is not known; expected 'LN', 'LNPre' or none"
        raise CheckpointError(msg)
    return named


def convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without the buffers."""
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(_BUFFERS)}
