"""The sweep: what it stores, that it goes on where it stopped, and what it does with checkpoints that are bad."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

import dynamics
from conftest import tiny_model
from dynamics.errors import CheckpointError, UsageError
from dynamics.sweep import Progress, Settings
from dynamics.training import save

METRICS = ["prefix_matching", "loss", "in_context_learning_score", "sum_of_squared_weights"]


def sweep(folder: Path, out: Path, text: Path, **changes: object) -> list[Progress]:
    """Measure the tiny series; what happened to each checkpoint."""
    events: list[Progress] = []
    tasks = {"text": {"path": str(text), "documents": "lines"}, "repeated_tokens": {"n_examples": 4}}
    settings = Settings(tasks | changes.pop("tasks", {}))  # pyright: ignore[reportOperatorIssue]
    settings = replace(settings, dtype=changes.pop("dtype", "float32"))
    metrics = changes.pop("metrics", METRICS)
    series = dynamics.open_series(f"folder:{folder}", **changes)  # pyright: ignore[reportArgumentType]
    dynamics.measure(series, metrics, out=out, settings=settings, watch=events.append)  # pyright: ignore
    return events


def statuses(events: list[Progress]) -> dict[int, str]:
    return {event.checkpoint.step: event.status for event in events}


def test_every_number_is_tied_to_its_conditions(tiny_series: Path, tmp_path: Path, text: Path) -> None:
    events = sweep(tiny_series, tmp_path / "out", text)
    assert statuses(events) == {0: "measured", 10: "measured", 100: "measured", 1000: "measured"}
    assert [(event.done, event.total) for event in events] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    run = dynamics.Run(tmp_path / "out")
    frame = run.measurements()
    heads = frame.filter(pl.col("metric") == "prefix_matching")
    assert len(heads) == 4 * 2 * 2
    assert heads.select(pl.col("layer", "head").n_unique()).row(0) == (2, 2)
    assert heads["n"].unique().to_list() == [4]
    assert (heads["stderr"] > 0).all()
    exact = frame.filter(pl.col("metric") == "sum_of_squared_weights")
    assert exact.select(pl.col("stderr", "n", "layer", "head").is_null().all()).row(0) == (True,) * 4
    assert frame["weights_sha"].n_unique() == 4
    assert frame.filter(pl.col("metric") == "loss")["task_hash"].n_unique() == 1
    assert run.query("SELECT d_model, n_layers FROM series").row(0) == (16, 2)
    assert run.query("SELECT versions FROM runs")["versions"].item().count("torch") == 1


def test_stored_means_are_those_of_the_model(tiny_series: Path, tmp_path: Path, text: Path) -> None:
    """The loss by an independent way: transformers' own loss on the same lines."""
    sweep(tiny_series, tmp_path / "out", text, metrics=["loss"])
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    tokenizer = Tokenizer.from_file(str(tiny_series / "step10" / "tokenizer.json"))
    rows = [[0, *tokenizer.encode(line).ids] for line in text.read_text().splitlines()]
    model = AutoModelForCausalLM.from_pretrained(tiny_series / "step10")
    logits = model(torch.tensor(rows)).logits[:, :-1].log_softmax(-1)
    losses = -logits.gather(-1, torch.tensor(rows)[:, 1:, None]).squeeze(-1).mean(-1)
    stored = dynamics.Run(tmp_path / "out").measurements().filter(pl.col("step") == 10)
    assert stored["value"].item() == pytest.approx(losses.mean().item(), rel=1e-5)
    assert stored["stderr"].item() == pytest.approx(losses.std().item() / len(rows) ** 0.5, rel=1e-4)


def test_a_second_sweep_measures_only_what_is_missing(tiny_series: Path, tmp_path: Path, text: Path) -> None:
    sweep(tiny_series, tmp_path / "out", text, steps="0,100")
    save(tiny_model(9), tiny_series / "step2000", None)
    again = sweep(tiny_series, tmp_path / "out", text)
    assert statuses(again) == {0: "stored", 10: "measured", 100: "stored", 1000: "measured", 2000: "measured"}
    more = sweep(tiny_series, tmp_path / "out", text, metrics=[*METRICS, "loss_by_position"], steps="0")
    assert statuses(more) == {0: "measured"}


def test_a_killed_sweep_goes_on_where_it_stopped(tiny_series: Path, tmp_path: Path, text: Path) -> None:
    series = dynamics.open_series(f"folder:{tiny_series}")
    settings = Settings({"text": {"path": str(text), "documents": "lines"}})

    def stop(event: Progress) -> None:
        if event.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dynamics.measure(series, METRICS, out=tmp_path / "out", settings=settings, watch=stop)
    assert dynamics.Run(tmp_path / "out").checkpoints()["step"].to_list() == [0, 10]
    events: list[Progress] = []
    dynamics.measure(series, METRICS, out=tmp_path / "out", settings=settings, watch=events.append)
    assert statuses(events) == {0: "stored", 10: "stored", 100: "measured", 1000: "measured"}


def test_changed_weights_under_an_old_step_are_measured_again(tiny_series: Path, tmp_path: Path, text: Path) -> None:
    sweep(tiny_series, tmp_path / "out", text, metrics=["loss"])
    before = dynamics.Run(tmp_path / "out").measurements()
    shutil.rmtree(tiny_series / "step10")
    save(tiny_model(77), tiny_series / "step10", None)
    again = sweep(tiny_series, tmp_path / "out", text, metrics=["loss"])
    assert statuses(again)[10] == "measured"
    after = dynamics.Run(tmp_path / "out").measurements()
    assert len(after) == len(before) == 4
    changed = [a != b for a, b in zip(after["value"], before["value"], strict=True)]
    assert changed == [False, True, False, False]


def test_weights_that_come_back_are_served_from_the_store(tiny_series: Path, tmp_path: Path, text: Path) -> None:
    sweep(tiny_series, tmp_path / "out", text, metrics=["loss"])
    before = dynamics.Run(tmp_path / "out").measurements()["value"].to_list()
    shutil.copytree(tiny_series / "step10", tmp_path / "kept")
    for source in (tiny_series / "step0", tmp_path / "kept"):
        shutil.rmtree(tiny_series / "step10")
        shutil.copytree(source, tiny_series / "step10")
        last = sweep(tiny_series, tmp_path / "out", text, metrics=["loss"])
    assert statuses(last)[10] == "stored"
    assert dynamics.Run(tmp_path / "out").measurements()["value"].to_list() == before


def test_other_settings_are_never_mixed_into_one_curve(tiny_series: Path, tmp_path: Path, text: Path) -> None:
    sweep(tiny_series, tmp_path / "out", text, metrics=["loss"])
    shorter = {"text": {"path": str(text), "documents": "lines", "length": 20}}
    sweep(tiny_series, tmp_path / "out", text, metrics=["loss"], tasks=shorter, steps="0,10")
    frame = dynamics.Run(tmp_path / "out").measurements()
    assert frame["step"].to_list() == [0, 10]
    assert frame["task_hash"].n_unique() == 1


def test_another_precision_is_measured_anew_and_never_served_as_if_it_were_the_same(
    tiny_series: Path, tmp_path: Path, text: Path
) -> None:
    sweep(tiny_series, tmp_path / "out", text, metrics=["loss", "sum_of_squared_weights"])
    exact = dynamics.Run(tmp_path / "out").measurements()
    events = sweep(tiny_series, tmp_path / "out", text, metrics=["loss", "sum_of_squared_weights"], dtype="bfloat16")
    assert {*statuses(events).values()} == {"measured"}
    coarse = dynamics.Run(tmp_path / "out").measurements()
    losses = [frame.filter(pl.col("metric") == "loss") for frame in (exact, coarse)]
    assert (losses[0]["value"] != losses[1]["value"]).all()
    assert losses[1]["task_hash"].str.ends_with(".bfloat16").all()
    assert losses[1]["task_hash"].str.slice(0, 15).to_list() == losses[0]["task_hash"].str.slice(0, 15).to_list()
    # What weights alone tell is read as the files have it.
    norms = [frame.filter(pl.col("metric") == "sum_of_squared_weights").drop("run_id") for frame in (exact, coarse)]
    assert norms[0].equals(norms[1])


def test_bad_checkpoints_are_recorded_and_the_sweep_goes_on(tiny_series: Path, tmp_path: Path, text: Path) -> None:
    weights = tiny_series / "step10" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    foreign = tiny_model(1, d_model=8)
    save_file(dict(foreign.state_dict()), tiny_series / "step100" / "model.safetensors")
    save(tiny_model(5), tiny_series / "step500", None)
    damaged = load_file(tiny_series / "step500" / "model.safetensors")
    damaged["blocks.0.attn.W_Q"][0, 0, 0] = float("nan")
    save_file(damaged, tiny_series / "step500" / "model.safetensors")
    events = sweep(tiny_series, tmp_path / "out", text)
    assert statuses(events) == {0: "measured", 10: "failed", 100: "failed", 500: "failed", 1000: "measured"}
    notes = dict(dynamics.Run(tmp_path / "out").failed().select("step", "note").rows())
    assert "truncated or damaged" in notes[10]
    assert "has shape" in notes[100]
    assert "1 of 256 values of 'blocks.0.attn.W_Q' are NaN or infinite" in notes[500]
    assert set(dynamics.Run(tmp_path / "out").measurements()["step"]) == {0, 1000}


def test_a_checkpoint_after_a_bad_one_has_its_own_weights(tiny_series: Path, tmp_path: Path, text: Path) -> None:
    """A half-loaded checkpoint must not shine through the next one's numbers."""
    sweep(tiny_series, tmp_path / "clean", text, steps="1000")
    tensors = load_file(tiny_series / "step100" / "model.safetensors")
    del tensors["unembed.W_U"]
    save_file(tensors, tiny_series / "step100" / "model.safetensors")
    sweep(tiny_series, tmp_path / "out", text)
    clean = dynamics.Run(tmp_path / "clean").measurements()["value"].to_numpy()
    after = dynamics.Run(tmp_path / "out").measurements().filter(pl.col("step") == 1000)["value"].to_numpy()
    np.testing.assert_array_equal(after, clean)


def test_a_series_of_bad_checkpoints_fails_without_a_number(tmp_path: Path, text: Path) -> None:
    (tmp_path / "bad" / "step0").mkdir(parents=True)
    events = sweep(tmp_path / "bad", tmp_path / "out", text)
    assert statuses(events) == {0: "failed"}
    assert "no weight file" in events[0].note
    assert dynamics.Run(tmp_path / "out").measurements().is_empty()


def test_whole_object_pickles_are_refused(
    tmp_path: Path, text: Path, reference_data: Callable[[str], Path]
) -> None:
    events = sweep(reference_data("series/pickled-objects"), tmp_path / "out", text)
    assert set(statuses(events).values()) == {"failed"}
    assert all("nothing was run" in event.note for event in events)


def test_the_last_checkpoint_must_be_good_where_metrics_refer_to_it(tmp_path: Path, text: Path) -> None:
    folder = tmp_path / "addition"
    for step in (0, 1):
        save(tiny_model(step, d_vocab=12, n_ctx=3, d_mlp=8, n_layers=1), folder / f"step{step}", None)
    (folder / "step1" / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="the last checkpoint, addition step 1, cannot be read, and excluded"):
        sweep(folder, tmp_path / "out", text, metrics=["excluded_loss"])


def test_a_new_last_checkpoint_is_another_input(tmp_path: Path, text: Path) -> None:
    """Key frequencies come from the last checkpoint, so numbers under another last one are measured again."""
    folder = tmp_path / "addition"
    for step in (0, 1, 2):
        save(tiny_model(step, d_vocab=12, n_ctx=3, d_mlp=8, n_layers=1), folder / f"step{step}", None)
    metrics = ["excluded_loss", "train_loss"]
    sweep(folder, tmp_path / "out", text, metrics=metrics, steps="0,1")
    again = sweep(folder, tmp_path / "out", text, metrics=metrics)
    assert statuses(again) == {0: "measured", 1: "measured", 2: "measured"}
    stored = dynamics.Run(tmp_path / "out").query("SELECT count(*) n FROM measurements WHERE metric='train_loss'")
    assert stored["n"].item() == 3  # read from the store for 0 and 1, not measured twice


@pytest.mark.parametrize(
    ("metrics", "tasks", "message"),
    [
        (["prefix_maching"], {}, "unknown metric 'prefix_maching'; did you mean 'prefix_matching'"),
        (["loss"], {"txt": {}}, "unknown task 'txt'; did you mean 'text'"),
        (["loss"], {"text": {"lenght": 5}}, "task 'text', setting 'lenght'"),
        (["loss"], {"text": {"length": 5000}}, "exceed the model's context of 64"),
        (["train_loss"], {"modular_addition": {"p": 113}}, "needs 114 tokens and 3 positions; the model has 65"),
    ],
)
def test_wrong_requests_are_refused_before_anything_is_stored(
    tiny_series: Path, tmp_path: Path, text: Path, metrics: list[str], tasks: dict[str, dict[str, object]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        sweep(tiny_series, tmp_path / "out", text, metrics=metrics, tasks=tasks)
    if (tmp_path / "out").exists():
        assert dynamics.Run(tmp_path / "out").checkpoints().is_empty()


def test_an_unknown_step_names_its_neighbours(tiny_series: Path) -> None:
    with pytest.raises(UsageError, match="step 90 is not in the history; nearest are 10 and 100"):
        dynamics.open_series(f"folder:{tiny_series}", steps="90")
