"""Swapping weights: for every family the logits of `from_pretrained`, to the bit, in whatever order steps come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
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

from dynamics.checkpoint import Files, files_in, open_weights
from dynamics.errors import CheckpointError
from dynamics.model import SeriesModel
from tiny_models import SIZES, random_tokens

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
SEEDS = (0, 1)


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


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_from_pretrained(family: str, tmp_path: Path) -> None:
    paths = [saved(family, tmp_path, seed) for seed in SEEDS]
    expected = [published(family, path) for path in paths]
    assert not torch.equal(expected[0], expected[1])
    model = SeriesModel(open_weights(files_in(paths[0])))
    # Mapped and copied weights in turn: neither may leave anything of the other behind.
    for index, immutable in ((1, True), (0, False), (1, False), (0, True)):
        files = files_in(paths[index])
        model.load(open_weights(Files(files.weights, files.config, immutable=immutable)))
        with torch.inference_mode():
            logits = model.module(input_ids=random_tokens(2, 20)).logits
        assert torch.equal(logits, expected[index])
    assert model.site("W_E").shape == (SIZES["vocab_size"], 32)
    assert model.site("W_U").shape == (32, SIZES["vocab_size"])
    if family not in ("olmoe", "gpt_oss"):  # whose experts have one each
        layers, d_mlp, d_model = model.site("W_out").shape
        assert (layers, d_model) == (2, 32)
        assert d_mlp > d_model


@pytest.mark.parametrize("family", ["gpt_neox", "gpt2", "olmoe"])
def test_half_precision_on_disk_is_cast_as_from_pretrained_casts_it(family: str, tmp_path: Path) -> None:
    path = saved(family, tmp_path, 0, dtype=torch.float16)
    weights = open_weights(files_in(path))
    assert weights.dtype == "float16"
    with torch.inference_mode():
        logits = SeriesModel(weights).module(input_ids=random_tokens(2, 20)).logits
    assert torch.equal(logits, published(family, path))


@pytest.mark.parametrize("family", ["gpt2", "olmoe"])
@pytest.mark.parametrize("damage", ["missing", "shape", "nan", "unexpected"])
def test_no_damaged_checkpoint_is_measured(family: str, damage: str, tmp_path: Path) -> None:
    good, bad = saved(family, tmp_path, 0), saved(family, tmp_path, 1)
    model = SeriesModel(open_weights(files_in(good)))
    tensors = load_file(bad / "model.safetensors")
    matrices = (name for name, tensor in sorted(tensors.items()) if name.endswith("weight") and tensor.ndim == 2)
    name = next(name for name in matrices if ".0." in name)
    if damage == "missing":
        del tensors[name]
    elif damage == "shape":
        tensors[name] = tensors[name][:-1].contiguous()
    elif damage == "nan":
        tensors[name][0, 0] = float("nan")
    else:
        tensors["model.strange.weight"] = torch.zeros(2)
    save_file(tensors, bad / "model.safetensors", {"format": "pt"})
    # One expert less leaves a smaller stack.
    words = {"missing": "missing|do not merge|has shape", "shape": "shape|do not merge", "nan": "not finite",
             "unexpected": "1 unexpected"}[damage]  # fmt: skip
    with pytest.raises(CheckpointError, match=words):
        model.load(open_weights(files_in(bad)))


def test_a_configuration_that_changes_inside_a_series_builds_the_model_anew(tmp_path: Path) -> None:
    """SmolLM3 and OLMo-3 change their rotary embedding between stages: stale positions would be measured."""
    paths = [saved("smollm3", tmp_path, seed) for seed in (0, 1)]
    changed = json.loads((paths[1] / "config.json").read_text())
    changed["rope_parameters"]["rope_theta"] = 123.0
    (paths[1] / "config.json").write_text(json.dumps(changed))
    model = SeriesModel(open_weights(files_in(paths[0])))
    assert model.changed == ""
    model.load(open_weights(files_in(paths[1])))
    assert "rope_parameters" in model.changed
    with torch.inference_mode():
        assert torch.equal(model.module(input_ids=random_tokens(2, 20)).logits, published("smollm3", paths[1]))
    model.load(open_weights(files_in(paths[1])))
    assert model.changed == ""


def test_the_file_is_never_written_to(tmp_path: Path) -> None:
    paths = [saved("gpt_neox", tmp_path, seed) for seed in (0, 1)]
    before = [(path / "model.safetensors").read_bytes() for path in paths]
    model = None
    for path in (*paths, paths[0]):
        files = files_in(path)
        weights = open_weights(Files(files.weights, files.config, immutable=True))
        model = model or SeriesModel(weights)
        model.load(weights)
    assert [(path / "model.safetensors").read_bytes() for path in paths] == before
