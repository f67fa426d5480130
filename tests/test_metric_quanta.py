"""Multitask parity: by hand, against torch, at chance, and the order in which the subtasks are learnt."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.functional import cross_entropy

from dynamics import sweep
from dynamics.carry_out import CHECKPOINTS
from dynamics.errors import UsageError
from dynamics.recipe import read_recipe
from dynamics.sources import open_series
from dynamics.tasks import Subject, build_task
from dynamics.tasks.multitask_parity import Settings, frequency, relevant_bits
from dynamics.training import train_recipe
from metrics.quanta import (
    frequency_weighted_loss,
    quantum_loss,
    quantum_token_loss,
    subtask_accuracy,
    subtask_loss,
)

ROOT = Path(__file__).resolve().parents[1]
NOBODY = Subject(0, 0, None, None)


def given() -> dict[str, Tensor]:
    """Three subtasks with 5, 3 and 2 examples, and random logits."""
    generator = torch.Generator().manual_seed(0)
    return {
        "outputs": torch.randn(10, 2, generator=generator),
        "answer": torch.randint(0, 2, (10,), generator=generator),
        "subtask": torch.tensor([0] * 5 + [1] * 3 + [2] * 2),
        "frequency": torch.tensor([0.6, 0.3, 0.1]),
    }


def listed(by_name: dict[str, Tensor]) -> list[float]:
    assert list(by_name) == [f"subtask {number}" for number in range(len(by_name))]
    return [float(value) for value in by_name.values()]


def test_the_losses_are_those_of_torch() -> None:
    sites = given()
    parts = [cross_entropy(sites["outputs"][sites["subtask"] == i], sites["answer"][sites["subtask"] == i]).item()
             for i in range(3)]  # fmt: skip
    assert listed(subtask_loss(**sites)) == pytest.approx(parts)
    assert float(frequency_weighted_loss(**sites)) == pytest.approx(0.6 * parts[0] + 0.3 * parts[1] + 0.1 * parts[2])


def test_a_network_that_knows_one_subtask() -> None:
    sites = given()
    sure = 50.0 * torch.nn.functional.one_hot(sites["answer"], 2)
    sites["outputs"] = torch.where((sites["subtask"] == 1)[:, None], sure, 0.0)
    assert listed(subtask_loss(**sites)) == pytest.approx([math.log(2), 0, math.log(2)])
    assert listed(subtask_accuracy(**sites)) == [0.5, 1, 0.5]
    assert float(frequency_weighted_loss(**sites)) == pytest.approx(0.7 * math.log(2))
    sites["outputs"] = -sites["outputs"]
    assert listed(subtask_accuracy(**sites))[1] == 0


def test_nothing_to_measure_gives_nan() -> None:
    sites = given() | {"frequency": torch.tensor([0.5, 0.2, 0.2, 0.1])}
    assert [math.isnan(value) for value in listed(subtask_loss(**sites))] == [False, False, False, True]
    assert [math.isnan(value) for value in listed(subtask_accuracy(**sites))] == [False, False, False, True]
    assert frequency_weighted_loss(**sites).isnan()
    sites = given() | {"outputs": torch.full((10, 2), math.nan)}
    assert all(math.isnan(value) for value in listed(subtask_accuracy(**sites)))
    assert all(math.isnan(value) for value in listed(subtask_loss(**sites)))


def test_inputs_are_left_as_they_are() -> None:
    sites, before = given(), given()
    for metric in (subtask_loss, subtask_accuracy, frequency_weighted_loss):
        metric(**sites)
    assert all(torch.equal(sites[name], before[name]) for name in sites)


def test_losses_are_averaged_over_a_quantum_and_kept_for_each_token() -> None:
    losses, quantum = torch.tensor([[1.0, 2.0], [4.0, 8.0]]), torch.tensor([[0, -1], [1, 0]])
    before = (losses.clone(), quantum.clone())
    assert {name: float(x) for name, x in quantum_loss(losses, quantum, ("p", "q")).items()} == {"p": 4.5, "q": 4.0}
    assert quantum_token_loss(losses, quantum).tolist() == [1.0, 4.0, 8.0]
    assert torch.equal(losses, before[0])
    assert torch.equal(quantum, before[1])
    assert quantum_loss(losses * torch.nan, quantum, ("p", "q"))["p"].isnan()
    assert quantum_loss(losses, quantum, ("p", "q", "nobody"))["nobody"].isnan()


def test_the_task_asks_each_subtask_about_its_own_bits() -> None:
    settings = {"n_subtasks": 4, "n_bits": 9, "n_relevant": 3, "n_examples": 40}
    task = build_task("multitask_parity", settings, NOBODY)
    inputs, bits = task.fields["inputs"], relevant_bits(Settings(**settings))
    assert len({tuple(sorted(row)) for row in bits.tolist()}) > 1
    for row, answer, subtask in zip(inputs, task.fields["answer"], task.fields["subtask"], strict=True):
        assert row[:4].argmax() == subtask
        assert row[:4].sum() == 1
        assert int(row[4:][bits[subtask]].sum()) % 2 == answer
    assert task.hash == build_task("multitask_parity", settings, NOBODY).hash
    with pytest.raises(UsageError, match="expected no more relevant bits than bits"):
        build_task("multitask_parity", {"n_bits": 2, "n_relevant": 3}, NOBODY)


def test_the_frequencies_are_the_published_power_law() -> None:
    shares = frequency(Settings(n_subtasks=8, exponent=1.4)).tolist()
    assert shares == pytest.approx([0.489, 0.185, 0.105, 0.070, 0.051, 0.040, 0.032, 0.027], abs=6e-4)


@pytest.mark.slow
def test_the_frequent_subtasks_are_learnt_first_and_the_loss_over_all_has_no_step(tmp_path: Path) -> None:
    recipe = read_recipe(ROOT / "runs" / "multitask-parity.toml")
    train_recipe(recipe, tmp_path / CHECKPOINTS)
    series = open_series(f"folder:{tmp_path / CHECKPOINTS / recipe.series_of_seed(0)}")
    read = ["subtask_loss", "frequency_weighted_loss"]
    curves = sweep.measure(series, read, out=tmp_path, settings=sweep.Settings(recipe.tasks)).measurements()
    learnt = curves.filter((pl.col("metric") == "subtask_loss") & (pl.col("value") < math.log(2) / 2))
    first = learnt.group_by("label").agg(pl.col("step").min()).sort("label")
    assert first["label"].to_list() == [f"subtask {number}" for number in range(8)]
    assert spearmanr(range(8), first["step"]).statistic > 0.9
    total = curves.filter((pl.col("metric") == "frequency_weighted_loss") & (pl.col("step") % 50 == 0)).sort("step")
    falls = -total["value"].diff().drop_nulls()
    assert falls.max() / (total["value"][0] - total["value"][-1]) < 0.25  # pyright: ignore[reportOperatorIssue]
