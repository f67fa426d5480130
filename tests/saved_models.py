"""Random checkpoints of every supported family, as save_pretrained leaves them, and damaged ones."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertForPreTraining,
    PretrainedConfig,
    PreTrainedModel,
)

from tiny_models import random_tokens

D = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 61,
     "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}  # fmt: skip
GATED = D | {"intermediate_size": 48, "num_key_value_heads": 2}
FAMILIES: dict[str, dict[str, object]] = {
    "gpt_neox": D | {"intermediate_size": 64},
    "llama": GATED, "olmo": GATED, "olmo2": GATED, "mistral": GATED, "qwen2": GATED, "smollm3": GATED,
    "olmo3": GATED | {"sliding_window": 8},
    "olmoe": GATED | {"num_experts": 12, "num_experts_per_tok": 2},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 61, "n_positions": 64,
             "bos_token_id": 0, "eos_token_id": 0},
    "opt": D | {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 61, "pad_token_id": 0},
    "qwen3": GATED | {"head_dim": 8}, "gemma2": GATED | {"head_dim": 8},
    "phi": D | {"intermediate_size": 64},
    "apertus": GATED, "starcoder2": GATED,
    "gpt_neo": D | {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 61, "n_positions": 64, "rotary_dim": 4,
             "bos_token_id": 0, "eos_token_id": 0},
    "falcon": D | {"num_kv_heads": 4},
    "bert": D | {"intermediate_size": 64},
    "gpt_oss": GATED | {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8},
}  # fmt: skip


def configuration(family: str) -> PretrainedConfig:
    settings = dict(FAMILIES[family])
    if family == "gpt_neo":
        settings.pop("num_hidden_layers")
        settings.pop("num_attention_heads")
    return AutoConfig.for_model(family, **settings)


def saved(family: str, folder: Path, seed: int, *, dtype: torch.dtype = torch.float32) -> Path:
    """A random checkpoint as save_pretrained leaves it; BERT with the heads that MultiBERTs are published with."""
    torch.manual_seed(seed)
    config = configuration(family)
    auto = BertForPreTraining._from_config if family == "bert" else AutoModelForCausalLM.from_config
    model: PreTrainedModel = auto(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.to(dtype).save_pretrained(folder / f"step{seed}")
    return folder / f"step{seed}"


def published(family: str, path: Path) -> torch.Tensor:
    auto = AutoModelForMaskedLM if family == "bert" else AutoModelForCausalLM
    model = auto.from_pretrained(path, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(input_ids=random_tokens(2, 20)).logits


DAMAGES = {"missing": "1 missing", "shape": "has shape", "nan": "not finite", "infinite": "not finite",
           "unexpected": "1 unexpected"}  # fmt: skip


def damage(path: Path, kind: str, name: str) -> None:
    """Make a tensor `missing`, of another `shape`, `nan` or `infinite` at one place, or add one that is `unexpected`.

    `DAMAGES` are the words by which each is noticed.
    """
    tensors = load_file(path / "model.safetensors")
    if kind == "missing":
        del tensors[name]
    elif kind == "shape":
        tensors[name] = tensors[name][:-1].contiguous()
    elif kind == "unexpected":
        tensors["model.strange.weight"] = torch.zeros(2)
    else:
        tensors[name].view(-1)[0] = {"nan": torch.nan, "infinite": torch.inf}[kind]
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
