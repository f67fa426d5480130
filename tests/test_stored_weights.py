"""What weights alone tell comes from their files: no module is built, and none is needed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import save_file

import dynamics
from dynamics import instruments
from dynamics.checkpoint import files_in, hash_file, open_weights
from dynamics.errors import CheckpointError, UsageError
from dynamics.loading.stored import WeightReader
from dynamics.model import SeriesModel
from saved_models import DAMAGES, FAMILIES, damage, saved

WEIGHTS = ["weight_norm", "sum_of_squared_weights", "stable_rank", "distance_to_final", "update_norm", "update_cosine"]


def build_nothing(*_: object, **__: object) -> None:
    pytest.fail("a module was built")


def test_a_sweep_of_weights_builds_no_module(
    tiny_series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instruments, "SeriesModel", build_nothing)
    names = [*WEIGHTS, "copying_eigenvalues", "k_composition", "hoyer_sparsity", "gini_sparsity"]
    run = dynamics.measure(dynamics.open_series(f"folder:{tiny_series}"), names, out=tmp_path / "run")
    assert set(run.measurements()["metric"]) == set(names)
    assert run.query("SELECT n_layers, d_model, n_params > 0 FROM series").row(0) == (2, 16, True)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_those_that_the_module_computes_with(family: str, tmp_path: Path) -> None:
    """By name, value and number, tied ones once, also where several tensors of the file make one parameter."""
    reader, model = WeightReader(), None
    for seed in (0, 1):
        weights = open_weights(files_in(saved(family, tmp_path, seed)))
        model = model or SeriesModel(weights)
        model.load(weights)
        ours, theirs = reader.read(weights).site("weights"), dict(model.site("weights"))
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert reader.sizes(reader.read(weights)) == model.sizes()  # pyright: ignore[reportOptionalMemberAccess, reportPossiblyUnboundVariable]


def test_half_precision_stays_as_it_is(tmp_path: Path) -> None:
    weights = open_weights(files_in(saved("gpt_neox", tmp_path, 0, dtype=torch.float16)))
    assert {tensor.dtype for tensor in WeightReader().read(weights).site("weights").values()} == {torch.float16}


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin"])
def test_a_hash_is_remembered_until_the_file_is_written_to(name: str, tmp_path: Path) -> None:
    """Also where size and time of writing are made those that they were."""
    path = tmp_path / name
    for content in (b"one", b"two", b""):
        time.sleep(0.02)  # the file system's clock ticks
        path.write_bytes(content)
        os.utime(path, (1, 1))
        assert [hash_file(path) for _ in range(2)] == [hashlib.sha256(content).hexdigest()] * 2


@pytest.mark.parametrize("kind", DAMAGES)
def test_no_damaged_checkpoint_is_measured(kind: str, tmp_path: Path) -> None:
    paths = [saved("gpt2", tmp_path, seed) for seed in (0, 1)]
    damage(paths[1], kind, "transformer.h.0.attn.c_attn.weight")
    reader = WeightReader()
    reader.read(open_weights(files_in(paths[0])))
    with pytest.raises(CheckpointError, match=DAMAGES[kind]):
        reader.read(open_weights(files_in(paths[1])))


def test_a_family_without_a_class_is_measured_under_the_names_of_its_files(
    tmp_path: Path, reference_data: Callable[[str], Path]
) -> None:
    folder = reference_data("series/hybridstories-248k")
    run = dynamics.measure(dynamics.open_series(f"folder:{folder}"), WEIGHTS, out=tmp_path / "run")
    frame = run.measurements()
    assert set(frame["metric"]) == set(WEIGHTS)
    assert frame["step"].n_unique() == 10
    assert run.failed().is_empty()
    files = [torch.load(folder / f"step_{step}.pt", "cpu", weights_only=True)["model"] for step in (2000, 4000)]
    rows = frame.filter(pl.col("step") == 4000)
    labels = set(rows.filter(pl.col("metric") == "weight_norm")["label"])
    assert labels == {name for name in files[0] if not name.startswith("rope_")}
    name = "blocks.3.mlp.w1.weight"
    moved = float((files[1][name].double() - files[0][name].double()).norm()) / 2000
    found = rows.filter(pl.col("metric") == "update_norm", pl.col("label") == name)
    assert found["value"].item() == pytest.approx(moved)
    assert run.query("SELECT n_layers, n_params FROM series").row(0) == (
        None, sum(t.numel() for key, t in files[0].items() if not key.startswith("rope_")),
    )  # fmt: skip


def test_what_needs_a_map_of_the_model_says_so(tmp_path: Path) -> None:
    for step in (0, 1):
        (tmp_path / f"step{step}").mkdir()
        save_file({"strange.W": torch.ones(3, 3) + step}, tmp_path / f"step{step}" / "model.safetensors")
    series = dynamics.open_series(f"folder:{tmp_path}")
    with pytest.raises(UsageError, match="site '[a-zW_1EUOV]+' is not mapped .*can read 'weights' and 'spectra'"):
        dynamics.measure(series, ["copying_eigenvalues"], out=tmp_path / "run")
    save_file({"strange.W": torch.ones(3, 4)}, tmp_path / "step1" / "model.safetensors")
    run = dynamics.measure(series, ["weight_norm"], out=tmp_path / "other")
    assert "first 'strange.W'; the file is incomplete" in run.failed()["note"].item()


def test_a_bias_of_attention_is_a_parameter_and_its_mask_is_not(tmp_path: Path) -> None:
    """In a family that transformers has no class for, by their names alone."""
    for step in (0, 1):
        names = ("h.0.attn.c_attn.bias", "h.0.attn.bias", "h.0.attn.masked_bias", "h.0.attention.out.bias")
        (tmp_path / f"step{step}").mkdir()
        save_file({name: torch.ones(3) + step for name in names}, tmp_path / f"step{step}" / "model.safetensors")
    run = dynamics.measure(dynamics.open_series(f"folder:{tmp_path}"), ["weight_norm"], out=tmp_path / "run")
    assert {*run.measurements()["label"]} == {"h.0.attn.c_attn.bias", "h.0.attention.out.bias"}
