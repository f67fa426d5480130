"""Which family keeps the matrices of its attention heads where, and the gains of the norms around them.

W_Q, W_K and W_V read what the norm before attention gives; where a family normalises afterwards instead, or its norm
has no parameters, the gain is 1. Norms of queries and keys, norms after attention and all biases are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

Named = TypeVar("Named", Tensor, nn.Module)
Parameters = Mapping[str, Tensor]
Split = Callable[[Tensor, PretrainedConfig], tuple[Tensor, Tensor, Tensor]]
NAMES = ("W_Q", "W_K", "W_V", "W_O", "ln1_w", "ln_final_w")


@dataclass(frozen=True)
class Heads:
    """Names of parameters, `{}` for the layer. `queries_keys_values` are three matrices, or one that `split` takes
    apart. Of `norm`, before attention, and `final`, before the unembedding, the first that is there counts. `gain` is
    what the norms add to their weights; `inward` says that matrices map from the left, as GPT-2's do."""

    queries_keys_values: tuple[str, ...]
    output: str
    norm: tuple[str, ...] = ()
    final: tuple[str, ...] = ()
    split: Split | None = None
    gain: float = 0.0
    inward: bool = False


def _by_thirds(rows: Tensor, _: PretrainedConfig) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = rows.chunk(3)
    return query, key, value


def _head_by_head(rows: Tensor, config: PretrainedConfig) -> tuple[Tensor, Tensor, Tensor]:
    """The query, the key and the value of a head, then those of the next."""
    heads = rows.unflatten(0, (config.num_attention_heads, 3, -1))
    return heads[:, 0].flatten(0, 1), heads[:, 1].flatten(0, 1), heads[:, 2].flatten(0, 1)


def _falcon(rows: Tensor, config: PretrainedConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Groups of queries with their key and value after them; a single group where all share one."""
    if not (config.new_decoder_architecture or config.multi_query):
        return _head_by_head(rows, config)
    groups = config.num_kv_heads if config.new_decoder_architecture else 1
    held = rows.unflatten(0, (groups, config.num_attention_heads // groups + 2, -1))
    return held[:, :-2].flatten(0, 2), held[:, -2].flatten(0, 1), held[:, -1].flatten(0, 1)


def _separate(attention: str, output: str = "o_proj") -> tuple[tuple[str, ...], str]:
    return tuple(f"{attention}.{part}_proj.weight" for part in "qkv"), f"{attention}.{output}.weight"


_LLAMA, _LLAMA_NORM = _separate("model.layers.{}.self_attn"), ("model.layers.{}.input_layernorm.weight",)
_NORM = ("model.norm.weight",)
_H = "transformer.h.{}"
FAMILIES: dict[str, Heads] = {
    **{family: Heads(*_LLAMA, _LLAMA_NORM, _NORM) for family in (
        "llama", "mistral", "qwen2", "qwen3", "smollm3", "starcoder2", "olmoe", "gpt_oss",
    )},
    "gemma2": Heads(*_LLAMA, _LLAMA_NORM, _NORM, gain=1.0),
    "apertus": Heads(*_LLAMA, ("model.layers.{}.attention_layernorm.weight",), _NORM),
    "olmo": Heads(*_LLAMA),
    "olmo2": Heads(*_LLAMA, final=_NORM),
    "olmo3": Heads(*_LLAMA, final=_NORM),
    "phi": Heads(
        *_separate("model.layers.{}.self_attn", "dense"), _LLAMA_NORM, ("model.final_layernorm.weight",)
    ),
    "opt": Heads(
        *_separate("model.decoder.layers.{}.self_attn", "out_proj"),
        ("model.decoder.layers.{}.self_attn_layer_norm.weight",), ("model.decoder.final_layer_norm.weight",),
    ),
    "gptj": Heads(*_separate(_H + ".attn", "out_proj"), (_H + ".ln_1.weight",), ("transformer.ln_f.weight",)),
    "gpt_neo": Heads(
        *_separate(_H + ".attn.attention", "out_proj"), (_H + ".ln_1.weight",), ("transformer.ln_f.weight",)
    ),
    "gpt2": Heads(
        (_H + ".attn.c_attn.weight",), _H + ".attn.c_proj.weight", (_H + ".ln_1.weight",),
        ("transformer.ln_f.weight",), _by_thirds, inward=True,
    ),
    "gpt_neox": Heads(
        ("gpt_neox.layers.{}.attention.query_key_value.weight",), "gpt_neox.layers.{}.attention.dense.weight",
        ("gpt_neox.layers.{}.input_layernorm.weight",), ("gpt_neox.final_layer_norm.weight",), _head_by_head,
    ),
    "bloom": Heads(
        (_H + ".self_attention.query_key_value.weight",), _H + ".self_attention.dense.weight",
        (_H + ".input_layernorm.weight",), ("transformer.ln_f.weight",), _head_by_head,
    ),
    "falcon": Heads(
        (_H + ".self_attention.query_key_value.weight",), _H + ".self_attention.dense.weight",
        (_H + ".ln_attn.weight", _H + ".input_layernorm.weight"), ("transformer.ln_f.weight",), _falcon,
    ),
}  # fmt: skip


def head_matrix(config: PretrainedConfig, site: str, parameters: Parameters) -> Tensor:
    """One of `NAMES` for a family of `FAMILIES`, in TransformerLens orientation."""
    heads = FAMILIES[config.model_type]
    outputs = [w if heads.inward else w.T for w in numbered(parameters, heads.output)]  # [head*d_head d_model]
    if site == "ln_final_w":
        return _gain(parameters, heads.final, heads, outputs[0])
    if site == "ln1_w":
        # OPT's smallest sizes normalise after attention, with a norm of the same name.
        norms = heads.norm if getattr(config, "do_layer_norm_before", True) else ()
        patterns = [tuple(name.format(layer) for name in norms) for layer in range(len(outputs))]
        return torch.stack([_gain(parameters, names, heads, outputs[0]) for names in patterns])
    if site == "W_O":
        return torch.stack([_by_head(w, config).transpose(1, 2) for w in outputs])
    place = NAMES.index(site)
    return torch.stack([_by_head(rows, config) for rows in _projections(config, heads, parameters, place)])


def _projections(config: PretrainedConfig, heads: Heads, parameters: Parameters, place: int) -> list[Tensor]:
    """Each layer's rows [head*d_head d_model] of the queries (0), the keys (1) or the values (2)."""
    if heads.split is None:
        return numbered(parameters, heads.queries_keys_values[place])
    fused = [w.T if heads.inward else w for w in numbered(parameters, heads.queries_keys_values[0])]
    return [heads.split(rows, config)[place] for rows in fused]


def _gain(parameters: Parameters, names: tuple[str, ...], heads: Heads, like: Tensor) -> Tensor:
    found = next((parameters[name] for name in names if name in parameters), None)
    return torch.ones_like(like[0]) if found is None else found + heads.gain if heads.gain else found


def numbered(parameters: Mapping[str, Named], pattern: str) -> list[Named]:
    """The parameters, or modules, whose name is the pattern with a layer's number in place of `{}`, in layer order."""
    found = []
    while (name := pattern.format(len(found))) in parameters:
        found.append(parameters[name])
    return found


def _by_head(rows: Tensor, config: PretrainedConfig) -> Tensor:
    """A projection [head*d_head d_model], as nn.Linear stores it, as [n_heads d_model d_head].

    Where queries share keys and values, each is repeated for the queries that share it.
    """
    d_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = rows.unflatten(0, (-1, d_head)).transpose(1, 2)
    return heads.repeat_interleave(config.num_attention_heads // len(heads), 0)
