"""Swapping weights: for every family the logits of `from_pretrained`, to the bit, in whatever order steps come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dynamics.checkpoint import Files, files_in, open_weights
from dynamics.errors import CheckpointError
from dynamics.model import SeriesModel
from saved_models import DAMAGES, FAMILIES, damage, published, saved
from tiny_models import SIZES, random_tokens

SEEDS = (0, 1)


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


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("gpt2", "transformer.h.0.attn.c_attn.weight"), ("gpt_neox", "embed_out.weight"),
        ("olmoe", "model.layers.0.mlp.experts.3.up_proj.weight"), ("bert", "bert.embeddings.LayerNorm.weight"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", DAMAGES)
def test_no_damaged_checkpoint_is_measured(family: str, name: str, kind: str, tmp_path: Path) -> None:
    """Least of all with what the checkpoint before left in that place."""
    good, bad = saved(family, tmp_path, 0), saved(family, tmp_path, 1)
    model = SeriesModel(open_weights(files_in(good)))
    damage(bad, kind, name)
    # One expert less leaves a smaller stack.
    words = DAMAGES[kind] if kind not in ("missing", "shape") else f"{DAMAGES[kind]}|do not merge|has shape"
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
