"""Layers that wait elsewhere: the same numbers, read from where they rest, and what a map may not ask for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import dynamics
from dynamics.checkpoint import files_in, open_weights
from dynamics.errors import CheckpointError, UsageError
from dynamics.loading.placement import DISK, SPARE, _fit, read_device_map
from dynamics.model import SeriesModel
from dynamics.sweep import Settings
from saved_models import DAMAGES, FAMILIES, damage, published, saved
from tiny_models import random_tokens

pytest.importorskip("accelerate", reason="a device map needs accelerate")

SECOND = {"gpt_neox.layers.1": DISK}


def logits(model: SeriesModel) -> torch.Tensor:
    with torch.inference_mode():
        return model.module(input_ids=random_tokens(2, 20)).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_a_model_that_fits(family: str, tmp_path: Path) -> None:
    paths = [saved(family, tmp_path, seed) for seed in (0, 1)]
    model = SeriesModel(open_weights(files_in(paths[0])), device_map=DISK)
    for path in (paths[1], paths[0], paths[1]):
        model.load(open_weights(files_in(path)))
        assert torch.equal(logits(model), published(family, path))
    assert sum(parameter.is_meta for parameter in model.module.parameters()) > 4  # they have gone again


def test_sites_are_read_from_where_the_layers_rest(tmp_path: Path) -> None:
    paths = [saved("gpt_neox", tmp_path, seed, dtype=torch.float16) for seed in (0, 1)]
    whole, spread = (SeriesModel(open_weights(files_in(paths[0])), device_map=where) for where in (None, SECOND))
    for model in (whole, spread):
        model.load(open_weights(files_in(paths[1])))
    ours, theirs = spread.site("weights"), whole.site("weights")
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert {tensor.dtype for tensor in ours.values()} == {torch.float32}
    assert torch.equal(spread.site("W_out"), whole.site("W_out"))
    assert spread.sizes() == whole.sizes()


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_layer_is_noticed_where_it_rests(kind: str, tmp_path: Path) -> None:
    good, bad = (saved("gpt_neox", tmp_path, seed) for seed in (0, 1))
    model = SeriesModel(open_weights(files_in(good)), device_map=SECOND)
    damage(bad, kind, "gpt_neox.layers.1.mlp.dense_h_to_4h.weight")
    with pytest.raises(CheckpointError, match=DAMAGES[kind]):
        model.load(open_weights(files_in(bad)))


def test_a_sweep_gives_the_same_numbers(tiny_series: Path, text: Path, tmp_path: Path) -> None:
    frames = []
    for n, where in enumerate((None, DISK, {"blocks.0": DISK})):
        run = dynamics.measure(
            dynamics.open_series(f"folder:{tiny_series}"), ["prefix_matching", "loss", "distance_from_first"],
            out=tmp_path / f"out{n}", settings=Settings({"text": {"path": str(text)}}, device_map=where),
        )  # fmt: skip
        frames.append(run.measurements().drop("run_id"))
    assert len(frames[0]) == 4 * (4 + 1 + 17)
    assert frames[1].equals(frames[0])
    assert frames[2].equals(frames[0])


def test_what_fits_stays_and_the_rest_waits_in_memory_then_on_disk() -> None:
    with torch.device("meta"):
        config = AutoConfig.for_model("gpt_neox", **(FAMILIES["gpt_neox"] | {"num_hidden_layers": 8}))
        module = AutoModelForCausalLM.from_config(config)
    layers = {f"layer {i}": layer for i, layer in enumerate(module.gpt_neox.layers)}
    layer = sum(parameter.numel() for parameter in layers["layer 0"].parameters()) * 2
    others = sum(parameter.numel() for parameter in module.parameters()) * 2 - 8 * layer
    # Three layers beside what is always there and one that visits; then two and a half.
    memory = {0: (others + 4 * layer) / (1 - SPARE) + 1, "cpu": 2.5 * layer / (1 - SPARE)}
    found = _fit(module, layers, torch.float16, torch.device("cuda", 0), memory)  # pyright: ignore[reportArgumentType]
    assert list(found.values()) == ["cuda:0"] * 3 + ["cpu"] * 2 + [DISK] * 3
    here = _fit(module, layers, torch.float16, torch.device("cpu"), memory | {"cpu": memory[0]})  # pyright: ignore[reportArgumentType]
    assert list(here.values()) == ["cpu"] * 3 + [DISK] * 5


@pytest.mark.parametrize(
    ("device_map", "message"),
    [
        ({"gpt_neox.layers.7": DISK}, "no part 'gpt_neox.layers.7'; its layers are gpt_neox.layers.0 to"),
        ({"gpt_neox.embed_in": DISK}, "only whole layers can"), ({"gpt_neox.layers.1.mlp": DISK}, "only whole layers"),
        ("shelf", "'shelf' is no device of this machine"), ({"gpt_neox.layers.1": "cuda:9"}, "'cuda:9' is no device"),
    ],
)  # fmt: skip
def test_a_map_that_cannot_be_followed_is_refused(device_map: object, message: str, tmp_path: Path) -> None:
    weights = open_weights(files_in(saved("gpt_neox", tmp_path, 0)))
    with pytest.raises(UsageError, match=message):
        SeriesModel(weights, device_map=device_map)  # pyright: ignore[reportArgumentType]


def test_a_map_needs_accelerate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = open_weights(files_in(saved("gpt_neox", tmp_path, 0)))
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UsageError, match=r"pip install 'training-dynamics\[device-map\]'"):
        SeriesModel(weights, device_map=DISK)
    SeriesModel(weights)


def test_a_device_that_is_not_there_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(UsageError, match="'cuda:99' is no device of this machine"):
        Settings(device="cuda:99")


def test_maps_are_read_from_the_command_line() -> None:
    assert read_device_map(json.dumps(SECOND)) == SECOND
    assert read_device_map("auto") == "auto"
    with pytest.raises(UsageError, match="expected JSON"):
        read_device_map("{gpt_neox.layers.1: disk}")
