"""The demo: its language, and what is found in the histories of its two models."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from conftest import tiny_model
from dynamics import demo
from dynamics.carry_out import carry_out
from dynamics.sources import open_series
from dynamics.training import train


def period_of(sequence: np.ndarray) -> int:
    return next(p for p in range(1, len(sequence)) if (sequence[p:] == sequence[:-p]).all())


def test_every_sequence_repeats_a_passage_of_its_own_length() -> None:
    periods = [period_of(sequence) for sequence in islice(demo.language(seed=5), 200)]
    assert set(periods) <= set(range(demo.PERIODS[0], demo.PERIODS[1] + 1))
    assert len(set(periods)) > 20


def test_training_and_unseen_text_differ() -> None:
    seen = {tuple(sequence) for sequence in islice(demo.language(seed=0), 500)}
    assert not seen & {tuple(sequence) for sequence in islice(demo.language(seed=1), 500)}


def test_training_is_repeatable_and_keeps_whole_checkpoints(tmp_path: Path) -> None:
    losses = []
    for name in ("one", "two"):
        model = tiny_model(3)
        train(model, demo.batches(0, 4), tmp_path / name, steps=6, n_checkpoints=4, learning_rate=1e-2)
        losses.append(model(torch.tensor([[0, 1, 2]])).logits.sum().item())
    assert losses[0] == losses[1]
    series = open_series(f"folder:{tmp_path / 'one'}")
    assert [checkpoint.step for checkpoint in series.checkpoints][0::3] == [0, 6]
    assert set(series.ignored) == {"losses.csv", "training.json"}


@pytest.mark.slow
def test_induction_heads_form_in_two_layers_and_not_in_one(tmp_path: Path) -> None:
    folders = demo.make_series(tmp_path / "checkpoints")
    run = carry_out(demo.recipe(folders), out=tmp_path)
    events = run.events()
    heads = events.filter(
        (pl.col("metric") == "prefix_matching") & (pl.col("direction") == "up") & (pl.col("kind") == "transition")
    )
    found = heads.filter(pl.col("series") == "two-layer")
    assert set(found["layer"]) == {1}
    assert (found["magnitude"].abs() > 0.2).any()
    assert (found["q_value"] < 0.05).all()
    assert heads.filter(pl.col("series") == "one-layer").is_empty()
    # The score that the heads are said to bring changes with them: the intervals meet.
    score = events.filter((pl.col("metric") == "in_context_learning_score") & (pl.col("series") == "two-layer"))
    strongest = found.sort("magnitude").tail(1)
    together = score.filter(
        (pl.col("onset") <= strongest["completion"].item()) & (pl.col("completion") >= strongest["onset"].item())
    )
    assert set(together["direction"]) == {"down"}
    # Two layers beat one by what is copied from earlier in the context.
    last = run.measurements().filter((pl.col("metric") == "loss") & (pl.col("step") == demo.STEPS))
    losses = dict(last.select("series", "value").rows())
    assert losses["one-layer"] - losses["two-layer"] > 0.5
