"""Measuring while training: the same numbers as from a saved checkpoint, and the same training as without it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, Trainer, TrainerCallback, TrainingArguments

import dynamics
from dynamics.errors import UsageError

pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate")

METRICS = ["sum_of_squared_weights", "prefix_matching"]
STEPS = 6


def train(out: Path, callbacks: list[Any]) -> tuple[GPTNeoXForCausalLM, list[dict[str, float]], tuple[Any, ...]]:
    """A small model with dropout, so that any random number drawn elsewhere would change what follows."""
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=61,
        max_position_embeddings=64, hidden_dropout=0.2, attention_dropout=0.2, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPTNeoXForCausalLM(config)
    rows = torch.randint(0, 61, (32, 16), generator=torch.Generator().manual_seed(1))
    data = [{"input_ids": row, "labels": row} for row in rows]
    arguments = TrainingArguments(
        output_dir=str(out), max_steps=STEPS, per_device_train_batch_size=4, logging_steps=1, save_strategy="no",
        report_to=[], use_cpu=True, disable_tqdm=True, seed=3, learning_rate=1e-2, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=data, callbacks=callbacks)
    trainer.train()
    log = [{"step": row["step"], "loss": row["loss"]} for row in trainer.state.log_history if "loss" in row]
    return model, log, (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist())


def test_training_goes_the_same_way_with_and_without_it(tmp_path: Path) -> None:
    plain, plain_log, plain_random = train(tmp_path / "a", [])
    callback = dynamics.MeasureCallback(METRICS, out=tmp_path / "run", steps="all")
    watched, watched_log, watched_random = train(tmp_path / "b", [callback])
    assert watched_log == plain_log
    assert len(plain_log) == STEPS
    assert watched_random == plain_random
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, watched.state_dict()[name]), name
    assert watched.config._attn_implementation == plain.config._attn_implementation
    run = dynamics.Run(tmp_path / "run")
    assert run.checkpoints()["step"].to_list() == list(range(STEPS + 1))
    assert run.checkpoints()["status"].unique().to_list() == ["measured"]
    assert len(run.query("SELECT * FROM runs")) == 1


class Careless(TrainerCallback):
    """Draws one random number."""

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        torch.rand(1)


def test_that_test_can_fail(tmp_path: Path) -> None:
    assert train(tmp_path / "a", [])[1] != train(tmp_path / "b", [Careless()])[1]


def test_the_numbers_are_those_of_the_saved_checkpoint(tmp_path: Path) -> None:
    callback = dynamics.MeasureCallback(METRICS, out=tmp_path / "run", steps=[0, STEPS], name="mine")
    model, _, _ = train(tmp_path / "a", [callback])
    model.save_pretrained(tmp_path / "saved" / f"step{STEPS}")
    saved = dynamics.measure(dynamics.open_series(f"folder:{tmp_path / 'saved'}"), METRICS, out=tmp_path / "again")
    columns = ["metric", "layer", "head", "value"]
    live = dynamics.Run(tmp_path / "run").measurements()
    assert live["series"].unique().to_list() == ["mine"]
    live = live.filter(live["step"] == STEPS)
    assert live.select(columns).equals(saved.measurements().select(columns))
    assert len(live) == 1 + 2 * 2


def test_what_cannot_be_measured_while_training_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown metric 'losss'"):
        dynamics.MeasureCallback(["losss"], out=tmp_path)
    with pytest.raises(UsageError, match="refers to the final checkpoint"):
        dynamics.MeasureCallback(["restricted_loss"], out=tmp_path)


def test_a_failure_to_measure_does_not_stop_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    callback = dynamics.MeasureCallback(METRICS, out=tmp_path / "run", steps="all")
    _, log, _ = train(tmp_path / "a", [callback])
    assert len(log) == STEPS
    assert "training goes on" in caplog.text
