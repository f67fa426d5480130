"""Sparse parity: by hand, by Parseval, for networks that know nothing, and the lead of the weights over accuracy."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import polars as pl
import pytest
import torch

from dynamics.carry_out import CHECKPOINTS, carry_out
from dynamics.errors import UsageError
from dynamics.recipe import read_recipe
from dynamics.tasks import Subject, build_task
from dynamics.training import train_recipe
from metrics.sparse_parity import (
    fourier_gap,
    hinge_loss,
    largest_change,
    largest_weight,
    parity_accuracy,
    parity_coefficient,
    relevant_bits_first,
    relevant_weight_ratio,
)

ROOT = Path(__file__).resolve().parents[1]
NOBODY = Subject(0, 0, None, None)
SIGNS = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=6)))  # all inputs of six bits


def test_a_multiple_of_the_parity_has_that_coefficient_and_other_parities_none() -> None:
    answer = SIGNS[:, :3].prod(1)
    assert float(parity_coefficient(0.7 * answer[:, None], answer).mean()) == pytest.approx(0.7)
    assert float(parity_accuracy(0.7 * answer[:, None], answer).mean()) == 1
    for others in ((0, 1), (0, 1, 2, 3), (3, 4, 5)):
        wrong = SIGNS[:, others].prod(1)[:, None]
        assert float(parity_coefficient(wrong, answer).mean()) == 0
        assert float(parity_accuracy(wrong, answer).mean()) == 0.5


def test_the_squares_of_all_coefficients_are_the_mean_square_of_the_output() -> None:
    """Parseval, over every subset of six bits: the coefficient is the right one, and not merely proportional."""
    output = torch.randn(64, 1, generator=torch.Generator().manual_seed(0))
    subsets = itertools.chain.from_iterable(itertools.combinations(range(6), size) for size in range(7))
    squares = [float(parity_coefficient(output, SIGNS[:, list(s)].prod(1)).mean()) ** 2 for s in subsets]
    assert sum(squares) == pytest.approx(float(output.square().mean()))


def test_accuracy_and_hinge_by_hand() -> None:
    outputs, answer = torch.tensor([[3.0], [-0.25], [0.0]]), torch.tensor([1.0, 1.0, -1.0])
    assert parity_accuracy(outputs, answer).tolist() == [1, 0, 0.5]
    assert hinge_loss(outputs, answer).tolist() == [0, 1.25, 1]


def test_weights_by_hand() -> None:
    relevant = torch.tensor([True, True, False, False])
    w = torch.tensor([[[1.0, -3.0], [2.0, 2.0], [0.5, -0.5], [1.0, 0.0]]])
    assert float(relevant_weight_ratio(w, relevant)) == pytest.approx(2 / 0.5)
    assert largest_weight(w, relevant).tolist() == [3, 1]


def test_the_gap_is_that_of_the_parities_of_all_but_one_bit() -> None:
    relevant, answer = torch.arange(6) < 3, SIGNS[:, :3].prod(1)
    pairs = 0.9 * SIGNS[:, [0, 1]].prod(1) + 0.7 * SIGNS[:, [0, 2]].prod(1) + 0.8 * SIGNS[:, [1, 2]].prod(1)
    assert float(fourier_gap(SIGNS, pairs[:, None], answer, relevant)) == pytest.approx(0.7)
    four = pairs + 0.5 * SIGNS[:, :4].prod(1)
    assert float(fourier_gap(SIGNS, four[:, None], answer, relevant)) == pytest.approx(0.2)
    assert float(fourier_gap(SIGNS, answer[:, None], answer, relevant)) == 0  # learnt: no gap is left
    brute = min(abs(float((four * SIGNS[:, [i for i in range(3) if i != left]].prod(1)).mean())) for left in range(3))
    brute -= max(abs(float((four * answer * SIGNS[:, more]).mean())) for more in range(3, 6))
    assert float(fourier_gap(SIGNS, four[:, None], answer, relevant)) == pytest.approx(brute)


def test_an_output_of_noise_has_no_gap() -> None:
    inputs = 2.0 * torch.randint(0, 2, (4096, 30), generator=torch.Generator().manual_seed(0)) - 1
    noise = torch.randn(4096, 1, generator=torch.Generator().manual_seed(1))
    assert -4 / 64 < float(fourier_gap(inputs, noise, inputs[:, :3].prod(1), torch.arange(30) < 3)) < 0


def test_what_moved_and_what_stands_out_by_hand() -> None:
    relevant, first = torch.tensor([True, True, False, False]), torch.zeros(1, 4, 2)
    w = torch.tensor([[[1.0, -3.0], [0.2, 0.2], [0.5, -0.5], [1.0, 0.0]]])
    assert largest_change(w, first, relevant).tolist() == [3, 1]
    assert largest_change(w, w, relevant).tolist() == [0, 0]
    assert float(relevant_bits_first(w, relevant)) == 0.5  # the first stands above both others, the second below
    assert float(relevant_bits_first(torch.ones(1, 4, 2), relevant)) == 0.5
    assert float(relevant_bits_first(w, ~relevant)) == 0.5
    assert float(relevant_bits_first(w, torch.tensor([True, False, False, False]))) == 1


def test_weights_that_know_nothing_tell_no_bits_apart() -> None:
    w = torch.randn(1, 1000, 50, generator=torch.Generator().manual_seed(0))
    assert float(relevant_bits_first(w, torch.arange(1000) < 300)) == pytest.approx(0.5, abs=0.05)


def test_weights_that_know_nothing_have_a_ratio_of_one() -> None:
    w = torch.randn(1, 1000, 50, generator=torch.Generator().manual_seed(0))
    relevant = torch.arange(1000) < 300
    assert float(relevant_weight_ratio(w, relevant)) == pytest.approx(1, abs=0.02)


def test_nothing_to_measure_gives_nan() -> None:
    w = torch.ones(1, 3, 2)
    every = torch.ones(3, dtype=torch.bool)
    assert relevant_weight_ratio(w, every).isnan()
    assert relevant_weight_ratio(torch.zeros(1, 3, 2), torch.tensor([True, False, False])).isnan()
    assert largest_weight(w, every).isnan().tolist() == [False, True]
    assert largest_change(w, w, every).isnan().tolist() == [False, True]
    assert relevant_bits_first(w, every).isnan()
    assert fourier_gap(SIGNS[:, :3], SIGNS[:, :1], SIGNS[:, 0], every).isnan()
    broken, answer = torch.tensor([[math.inf], [math.nan]]), torch.ones(2)
    for metric in (parity_accuracy, hinge_loss):
        assert metric(broken, answer).isnan().all()


def test_inputs_are_left_as_they_are() -> None:
    outputs, answer, w = torch.ones(2, 1), torch.tensor([1.0, -1.0]), torch.ones(1, 3, 2)
    relevant = torch.tensor([True, False, False])
    for metric in (parity_accuracy, hinge_loss, parity_coefficient):
        metric(outputs, answer)
    for metric in (relevant_weight_ratio, largest_weight):
        metric(w, relevant)
    relevant_bits_first(w, relevant)
    largest_change(w, w, relevant)
    fourier_gap(torch.ones(2, 3), outputs, answer, relevant)
    assert torch.equal(outputs, torch.ones(2, 1))
    assert torch.equal(w, torch.ones(1, 3, 2))
    assert relevant.tolist() == [True, False, False]


def test_the_task_is_fixed_and_its_answer_is_the_product() -> None:
    task = build_task("sparse_parity", {"n_bits": 5, "n_relevant": 2, "n_examples": 64}, NOBODY)
    inputs = task.fields["inputs"]
    assert torch.equal(task.fields["answer"], inputs[:, 0] * inputs[:, 1])
    assert set(inputs.unique().tolist()) == {-1.0, 1.0}
    assert task.hash == build_task("sparse_parity", {"n_bits": 5, "n_relevant": 2, "n_examples": 64}, NOBODY).hash
    with pytest.raises(UsageError, match="expected fewer relevant bits than bits"):
        build_task("sparse_parity", {"n_bits": 3, "n_relevant": 3}, NOBODY)


def leaves_its_beginning(curve: pl.DataFrame, until: int) -> int:
    """The first step from which a rising curve stays above all that it was until a step."""
    ceiling = curve.filter(pl.col("step") <= until)["value"].max()
    below = curve.filter(pl.col("value") <= ceiling)["step"].max()
    return int(curve.filter(pl.col("step") > below)["step"].min())  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_the_weights_know_the_bits_long_before_the_accuracy_moves(tmp_path: Path) -> None:
    """By eye on the ratio, and by the detected events: the bits stand out before the accuracy rises."""
    recipe = read_recipe(ROOT / "runs" / "sparse-parity.toml")
    train_recipe(recipe, tmp_path / CHECKPOINTS)
    read = ("parity_accuracy", "relevant_weight_ratio", "relevant_bits_first")
    run = carry_out(recipe.model_copy(update={"metrics": read}), out=tmp_path)
    curves = run.measurements()
    dated = 0
    for series, rows in curves.partition_by("series", as_dict=True).items():
        first = {
            name: leaves_its_beginning(rows.filter(metric=name).sort("step"), until=200)
            for name in ("relevant_weight_ratio", "parity_accuracy")
        }
        assert first["parity_accuracy"] - first["relevant_weight_ratio"] >= 100, series  # 180 and 220 when written
        events = run.events().filter(kind="transition", direction="up", series=series[0])
        rise = events.filter(metric="parity_accuracy").sort("magnitude").tail(1)
        stand_out = events.filter(metric="relevant_bits_first").sort("magnitude").tail(1)
        if rise.height:  # an accuracy that rises in two stages may be dated otherwise
            assert stand_out["upper"].item() < rise["lower"].item(), series
            dated += 1
        last = rows.filter((pl.col("step") == 2000) & (pl.col("metric") == "parity_accuracy"))
        assert last["value"].item() == 1.0
    assert dated >= 2
