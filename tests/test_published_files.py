"""Files as the public series have them: old names, buffers among the weights, torch files, other heads.

Each is read as `from_pretrained` reads it, step after step in one module, and nothing of the step before stays.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from dynamics.checkpoint import files_in, open_weights
from dynamics.errors import CheckpointError, UnsafeCheckpoint
from dynamics.loading.stored import WeightReader
from dynamics.model import SeriesModel
from dynamics.self_check import check_model
from saved_models import published, saved
from tiny_models import random_tokens

Tensors = dict[str, Tensor]


def rewrite(path: Path, change: Callable[[Tensors], Tensors]) -> Path:
    """The checkpoint as a torch file with other tensors."""
    tensors = change(load_file(path / "model.safetensors"))
    (path / "model.safetensors").unlink()
    torch.save(tensors, path / "pytorch_model.bin")
    return path


def as_pythia(tensors: Tensors) -> Tensors:
    """With the buffers of the time: masks, the rotary embedding's frequencies."""
    for layer in range(2):
        place = f"gpt_neox.layers.{layer}.attention"
        tensors |= {f"{place}.bias": torch.ones(1, 1, 64, 64, dtype=torch.uint8),
                    f"{place}.masked_bias": torch.tensor(-1e9),
                    f"{place}.rotary_emb.inv_freq": torch.ones(2)}  # fmt: skip
    assert "embed_out.weight" in tensors
    return tensors


def as_gpt2(tensors: Tensors) -> Tensors:
    """Without the model's prefix, with masks: as the first GPT-2 files are."""
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    masks = {f"h.{n}.attn.bias": torch.ones(1, 1, 64, 64).tril() for n in range(2)}
    return bare | masks | {f"h.{n}.attn.masked_bias": torch.tensor(-1e4) for n in range(2)}


def as_multiberts(tensors: Tensors) -> Tensors:
    """With TensorFlow's names of a norm's parameters, and positions among the weights."""
    names = {name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
             for name in tensors}  # fmt: skip
    assert any(name.startswith("cls.seq_relationship") for name in names)
    return {names[n]: t for n, t in tensors.items()} | {"bert.embeddings.position_ids": torch.arange(64)[None]}


def as_gpt_neo(tensors: Tensors) -> Tensors:
    """With the masks of the time, as in the models trained on TinyStories."""
    for layer in range(2):
        place = f"transformer.h.{layer}.attn.attention"
        tensors |= {f"{place}.bias": torch.ones(1, 1, 64, 64), f"{place}.masked_bias": torch.tensor(-1e9)}
    return tensors


def as_gptj(tensors: Tensors) -> Tensors:
    masks = (f"transformer.h.{layer}.attn.{name}" for layer in range(2) for name in ("bias", "masked_bias"))
    return tensors | {name: torch.ones(1) for name in masks}


PUBLISHED = [("gpt_neox", as_pythia), ("gpt2", as_gpt2), ("bert", as_multiberts), ("gpt_neo", as_gpt_neo),
             ("gptj", as_gptj)]  # fmt: skip


@pytest.mark.parametrize(("family", "change"), PUBLISHED)
def test_logits_are_those_of_from_pretrained(family: str, change: Callable[[Tensors], Tensors], tmp_path: Path) -> None:
    paths = [rewrite(saved(family, tmp_path, seed), change) for seed in (0, 1)]
    expected = [published(family, path) for path in paths]
    assert not torch.equal(*expected)
    model = SeriesModel(open_weights(files_in(paths[0])))
    reader = WeightReader()
    for index in (1, 0):
        weights = open_weights(files_in(paths[index]))
        model.load(weights)
        with torch.inference_mode():
            assert torch.equal(model.module(input_ids=random_tokens(2, 20)).logits, expected[index])
        read = reader.read(weights).site("weights")
        assert list(read) == list(dict(model.module.named_parameters()))  # no buffer among them, no other head


@pytest.mark.parametrize(("family", "change"), PUBLISHED)
def test_a_parameter_that_is_not_there_is_not_taken_from_the_step_before(
    family: str, change: Callable[[Tensors], Tensors], tmp_path: Path
) -> None:
    def without_one(tensors: Tensors) -> Tensors:
        changed = change(tensors)
        lost = next(name for name in changed if name.endswith(("embed_out.weight", "ln_f.weight", "LayerNorm.gamma")))
        return {name: tensor for name, tensor in changed.items() if name != lost}

    model = SeriesModel(open_weights(files_in(rewrite(saved(family, tmp_path, 0), change))))
    with pytest.raises(CheckpointError, match="1 missing"):
        model.load(open_weights(files_in(rewrite(saved(family, tmp_path, 1), without_one))))


def test_attention_scaled_by_layer_and_summed_in_another_order(tmp_path: Path) -> None:
    """CRFM's GPT-2: its scores are divided by the number of the layer, on a path of eager attention's own."""
    torch.manual_seed(0)
    config = GPT2Config(n_embd=32, n_layer=3, n_head=4, vocab_size=61, n_positions=64, bos_token_id=0, eos_token_id=0,
                        initializer_range=0.3, reorder_and_upcast_attn=True,
                        scale_attn_by_inverse_layer_idx=True)  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    eager = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    model = SeriesModel(open_weights(files_in(tmp_path)))
    check_model(model, reads_attention=True)
    with torch.inference_mode():
        logits = [module(random_tokens(2, 20)).logits for module in (eager, model.module)]
    assert torch.allclose(*logits, atol=1e-5)
    plain = SeriesModel(open_weights(files_in(tmp_path)))
    plain.module.config.scale_attn_by_inverse_layer_idx = False
    for block in plain.module.transformer.h:  # pyright: ignore
        block.attn.scaling = 8**-0.5  # pyright: ignore
        block.attn.scale_attn_by_inverse_layer_idx = False  # pyright: ignore
    with torch.inference_mode():
        assert not torch.allclose(plain.module(random_tokens(2, 20)).logits, logits[0], atol=1e-2)


def test_numbers_in_names_that_are_none_do_no_harm(tmp_path: Path) -> None:
    def strange(tensors: Tensors) -> Tensors:
        return tensors | {"model.\u00b2.weight": torch.zeros(1), f"model.{'9' * 5000}.weight": torch.zeros(1)}

    with pytest.raises(CheckpointError, match="2 unexpected"):
        SeriesModel(open_weights(files_in(rewrite(saved("gpt2", tmp_path, 0), strange))))


def test_torchs_first_file_format_is_not_unpacked(tmp_path: Path) -> None:
    """A tar archive, which only unpickling in the ordinary way could open."""
    import tarfile

    (tmp_path / "payload").write_bytes(b"x")
    with tarfile.open(tmp_path / "pytorch_model.bin", "w") as archive:
        archive.add(tmp_path / "payload", "../outside")
        archive.add(tmp_path / "payload", "storages")
    with pytest.raises((UnsafeCheckpoint, CheckpointError), match="cannot read|nothing was run"):
        open_weights(files_in(tmp_path))
    assert not (tmp_path.parent / "outside").exists()
