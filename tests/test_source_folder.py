"""Folders and files as sources: trainers' output, nanoGPT's copies, other file systems, many steps in one file."""

from __future__ import annotations

import json
import os
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

import dynamics
from conftest import tiny_model
from dynamics.checkpoint import SETTLED
from dynamics.errors import CheckpointError, UsageError
from dynamics.model import SeriesModel
from dynamics.prefetch import open_checkpoint
from dynamics.sweep import Progress
from dynamics.training import save


def steps_of(series: dynamics.Series) -> list[int]:
    return [checkpoint.step for checkpoint in series.checkpoints]


@pytest.fixture
def trainer_output(tmp_path: Path) -> Path:
    """Three checkpoints of a trainer; the last is being written."""
    folder = tmp_path / "out"
    folder.mkdir()
    for step in (10, 20, 30):
        save(tiny_model(step), folder / f"checkpoint-{step}", None)
        (folder / f"checkpoint-{step}" / "optimizer.pt").write_bytes(b"not weights")
        history = [{"step": s, "loss": 5 - s / 10, "epoch": 0.1} for s in range(5, step + 1, 5)]
        if step < 30:
            state = {"global_step": step, "log_history": history}
            (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    (folder / "runs").mkdir()
    return folder


def test_a_trainers_checkpoint_counts_once_it_is_complete(trainer_output: Path) -> None:
    series = dynamics.open_series(f"folder:{trainer_output}")
    assert steps_of(series) == [10, 20]
    assert series.ignored == ("checkpoint-30 (not finished: no trainer_state.json)", "runs")
    assert [(row["step"], row["loss"]) for row in series.logged()] == [(5, 4.5), (10, 4.0), (15, 3.5), (20, 3.0)]
    (trainer_output / "checkpoint-20" / "checkpoint-is-incomplete.txt").touch()
    assert steps_of(dynamics.open_series(f"folder:{trainer_output}")) == [10]


def test_a_checkpoint_that_the_trainer_deletes_is_a_failure_of_that_checkpoint(trainer_output: Path) -> None:
    series = dynamics.open_series(f"folder:{trainer_output}")
    for path in (trainer_output / "checkpoint-10").iterdir():
        path.unlink()
    with pytest.raises(CheckpointError, match="no weight file"):
        open_checkpoint(series, series.checkpoints[0])
    open_checkpoint(series, series.checkpoints[1])


def test_folders_of_other_file_systems(trainer_output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNAMICS_CACHE", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.put(f"{trainer_output}/", "/bucket/run/", recursive=True)
    series = dynamics.open_series("folder:memory://bucket/run")
    assert steps_of(series) == [10, 20]
    assert series.name == "run"
    opened = open_checkpoint(series, series.checkpoints[0])
    expected = load_file(trainer_output / "checkpoint-10" / "model.safetensors")
    assert all(torch.equal(opened.weights.tensors[name], expected[name]) for name in expected)
    assert opened.weights.config is not None
    kept = sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert kept == ["config.json", "model.safetensors"]
    memory.mkdir("/bucket/empty")
    with pytest.raises(UsageError, match="no checkpoints"):
        dynamics.open_series("folder:memory://bucket/empty")
    with pytest.raises(UsageError, match="cannot list"):
        dynamics.open_series("folder:nonsense://bucket/run")
    memory.rm("/bucket", recursive=True)


def test_a_disk_budget_holds_for_other_file_systems_too(
    trainer_output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNAMICS_CACHE", str(tmp_path / "cache"))
    size = (trainer_output / "checkpoint-10" / "model.safetensors").stat().st_size
    series = dynamics.open_series(f"folder:file://{trainer_output}", disk_budget=int(1.5 * size))
    run = dynamics.measure(series, ["sum_of_squared_weights"], out=tmp_path / "run")
    assert run.checkpoints()["status"].to_list() == ["measured", "measured"]
    assert len(list((tmp_path / "cache").rglob("model.safetensors"))) == 1
    small = dynamics.open_series(f"folder:file://{trainer_output}", disk_budget=10)
    with pytest.raises(CheckpointError, match="more than the disk budget of 10; allow 1MB or more"):
        small.fetch(small.checkpoints[0])


def test_a_login_in_an_address_is_neither_shown_nor_stored(
    trainer_output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNAMICS_CACHE", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.put(f"{trainer_output}/", "/me:hunter2@host/run/", recursive=True)
    place = "folder:memory://me:hunter2@host/run"
    series = dynamics.open_series(place)
    assert series.source == "folder:memory://host/run"
    settings = dynamics.Settings(recipe={"series": [{"source": place}]})
    run = dynamics.measure(series, ["sum_of_squared_weights"], out=tmp_path / "out", settings=settings)
    assert run.query("SELECT recipe FROM runs").item() == '{"series": [{"source": "folder:memory://host/run"}]}'
    memory.rm("/me:hunter2@host", recursive=True)
    with pytest.raises(UsageError, match="cannot list 'memory://host/run'") as caught:
        dynamics.open_series(place)
    assert "hunter2" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


@pytest.mark.parametrize("bias", [True, False])
def test_nanogpt_copies_are_the_gpt2_that_they_are(tmp_path: Path, bias: bool) -> None:
    """The same numbers as the GPT-2 whose matrices were transposed, and whose biases are zero where there are none."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=50, n_positions=16, n_embd=12, n_layer=2, n_head=3, activation_function="gelu")
    theirs = GPT2LMHeadModel(config).eval()
    state = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    turned = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    if not bias:
        state = {name: torch.zeros_like(t) if name.endswith("bias") else t for name, t in state.items()}
        theirs.load_state_dict(state)
        state = {name: tensor for name, tensor in state.items() if not name.endswith("bias")}
    saved = {f"_orig_mod.{n}": t.T.contiguous() if n.endswith(turned) else t for n, t in state.items()}
    arguments = {"n_layer": 2, "n_head": 3, "n_embd": 12, "block_size": 16, "bias": bias, "vocab_size": 50}
    torch.save({"model": saved, "optimizer": {}, "model_args": arguments, "iter_num": 100, "config": {}},
               tmp_path / "ckpt_100.pt")  # fmt: skip
    series = dynamics.open_series(f"folder:{tmp_path}")
    assert steps_of(series) == [100]
    model = SeriesModel(open_checkpoint(series, series.checkpoints[0]).weights)
    tokens = torch.arange(10)[None]
    with torch.inference_mode():
        assert torch.allclose(model.module(tokens).logits, theirs(tokens).logits, atol=1e-6)


@pytest.mark.parametrize("keys", [("checkpoints", "checkpoint_epochs"), ("state_dicts", "epochs")])
def test_a_file_of_many_steps_is_read_one_at_a_time(tmp_path: Path, keys: tuple[str, str]) -> None:
    states = [dict(tiny_model(seed, layer_norm=False).state_dict()) for seed in range(3)]
    path = tmp_path / "grokking.pth"
    torch.save({keys[0]: states, keys[1]: [0, 100, 200], "train_losses": [1.0], "config": {"act_fn": "relu"}}, path)
    series = dynamics.open_series(f"file:{path}")
    assert steps_of(series) == [0, 100, 200]
    opened = [open_checkpoint(series, checkpoint).weights for checkpoint in series.checkpoints]
    assert len({weights.sha for weights in opened}) == 3
    assert all(torch.equal(w.tensors["embed.W_E"], s["embed.W_E"]) for w, s in zip(opened, states, strict=True))
    run = dynamics.measure(series, ["sum_of_squared_weights"], out=tmp_path / "run")
    assert run.measurements()["value"].n_unique() == 3


def test_a_configuration_of_a_library_that_is_absent_is_an_empty_shell(tmp_path: Path) -> None:
    """Its class is not imported, its code not run; the fields that the file gives are kept."""
    module = types.ModuleType("absent_library")
    exec("class Config:\n    def __init__(self): self.act_fn = 'gelu'", module.__dict__)
    module.Config.__module__ = "absent_library"
    sys.modules["absent_library"] = module
    path = tmp_path / "run.pth"
    state = dict(tiny_model(0, activation="gelu", d_mlp=8).state_dict())
    torch.save({"checkpoints": [state], "checkpoint_epochs": [7], "config": module.Config()}, path)
    del sys.modules["absent_library"]
    series = dynamics.open_series(f"file:{path}")
    weights = open_checkpoint(series, series.checkpoints[0]).weights
    assert weights.settings == {"act_fn": "gelu"}
    assert SeriesModel(weights).config.activation == "gelu"


class Trap:
    """Runs code when it is unpickled in the ordinary way."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return exec, ("raise SystemExit('code was run')",)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "trap.pth"
    torch.save({"checkpoints": [Trap()], "checkpoint_epochs": [0]}, path)
    series = dynamics.open_series(f"file:{path}")
    with pytest.raises(CheckpointError, match="not a state dict"):
        open_checkpoint(series, series.checkpoints[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [({"a": 1}, "expected a list of state dicts"), ({"checkpoints": [{}], "checkpoint_epochs": [1, 2]}, "but 2"),
     ({"state_dicts": [{}, {}], "epochs": [0.5, 1.0]}, "has 0.5 among its steps; expected whole numbers"),
     ({"state_dicts": [{}, {}], "epochs": [7, 7]}, "has step 7 twice"), ({"state_dicts": [{}], "epochs": ["a"]}, "'a'"),
     (None, "cannot read"), ("absent", "no file")],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "x.pth"
    if content is None:
        path.write_bytes(b"neither zip nor pickle")
    elif content != "absent":
        torch.save(content, path)
    with pytest.raises(UsageError, match=message):
        dynamics.open_series(f"file:{path}")


def test_a_file_that_is_written_to_while_it_is_measured_is_noticed(trainer_output: Path) -> None:
    series = dynamics.open_series(f"folder:{trainer_output}")
    weights = open_checkpoint(series, series.checkpoints[0]).weights
    weights.check_unchanged()
    path = trainer_output / "checkpoint-10" / "model.safetensors"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CheckpointError, match="was written to while it was measured"):
        weights.check_unchanged()
    path.unlink()
    weights.check_unchanged()  # what a trainer deletes stays mapped


def test_folders_that_are_numbered_otherwise_are_no_steps(tmp_path: Path) -> None:
    """Five seeds are five histories; as steps of one they would be drawn as a curve."""
    for name in ("seed0", "seed_1", "run-2", "version_3", "lm-seed4"):
        save(tiny_model(0), tmp_path / name, None)
    (tmp_path / "rng_state_0.pth").write_bytes(b"")
    with pytest.raises(UsageError, match=r"no checkpoints in .*which holds lm-seed4, rng_state_0.pth, run-2, seed0"):
        dynamics.open_series(f"folder:{tmp_path}")
    save(tiny_model(0), tmp_path / "model_100", None)
    assert steps_of(dynamics.open_series(f"folder:{tmp_path}")) == [100]


def test_torch_files_stay_mapped_once_nobody_writes_to_them(tmp_path: Path) -> None:
    """Copied while they are young: a training script may be writing them over."""
    for step in (10, 20):
        torch.save(dict(tiny_model(step).state_dict()), tmp_path / f"ckpt_{step}.pt")
    old = time.time() - 2 * SETTLED
    os.utime(tmp_path / "ckpt_10.pt", (old, old))
    series = dynamics.open_series(f"folder:{tmp_path}")
    assert [open_checkpoint(series, c).weights.immutable for c in series.checkpoints] == [True, False]
    run = dynamics.measure(series, ["sum_of_squared_weights"], out=tmp_path / "run")
    for row in run.measurements().iter_rows(named=True):
        exact = sum(float(p.detach().double().pow(2).sum()) for p in tiny_model(row["step"]).parameters())
        assert row["value"] == pytest.approx(exact, rel=1e-5)


def test_a_reference_that_is_written_to_during_a_sweep_is_noticed(tmp_path: Path) -> None:
    """Its matrices may still be mapped from the file: distances to one that has changed are no numbers."""
    for step in (10, 20, 30):
        save(tiny_model(step), tmp_path / "out" / f"step{step}", None)

    def watch(event: Progress) -> None:
        if event.checkpoint.step == 10:
            os.utime(tmp_path / "out" / "step30" / "model.safetensors", (0, 0))

    series = dynamics.open_series(f"folder:{tmp_path / 'out'}")
    run = dynamics.measure(series, ["distance_to_final"], out=tmp_path / "run", watch=watch)
    assert run.checkpoints()["status"].to_list()[:2] == ["measured", "failed"]
    assert "step30/model.safetensors was written to while it was measured" in run.failed()["note"][0]
