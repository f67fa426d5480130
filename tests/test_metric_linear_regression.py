"""Linear regression in context: by hand, against numpy and scipy, at chance, and what a short training learns first."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from dynamics import sweep
from dynamics.architectures.regression_transformer import RegressionTransformer, RegressionTransformerConfig
from dynamics.carry_out import CHECKPOINTS
from dynamics.errors import UsageError
from dynamics.recipe import read_recipe
from dynamics.sources import open_series
from dynamics.tasks import Subject, Task, build_task
from dynamics.tasks.linear_regression import Settings, answers, draw, training_tasks
from dynamics.training import train_recipe
from metrics.linear_regression import (
    SHIFTED,
    SHIFTS,
    distance_to_dmmse,
    distance_to_prior,
    distance_to_ridge,
    regression_icl_score,
    regression_loss,
    regression_loss_by_pair,
    shifted_loss,
)

ROOT = Path(__file__).resolve().parents[1]
READER = Subject(5, 16, None, None)
METRICS = (
    regression_loss, regression_loss_by_pair, regression_icl_score, distance_to_ridge, distance_to_dmmse,
    distance_to_prior, shifted_loss,
)  # fmt: skip


def task(**settings: object) -> Task:
    return build_task("linear_regression", {"n_examples": 4000, **settings}, READER)


def sites(made: Task, predicted: Tensor) -> dict[str, Tensor]:
    """What metrics read when the model predicts this for the training distribution, and 0 for the others."""
    outputs = torch.zeros_like(made.fields["answer"])
    outputs[:, 0] = predicted
    return {"outputs": outputs, **made.fields}


def measured(metric: object, given: dict[str, Tensor]) -> Tensor:
    from metrics import METRICS as REGISTERED

    return metric(**{name: given[name] for name in REGISTERED[metric.__name__].reads})


def test_predicting_nothing_costs_the_variance_of_the_answers_and_learns_nothing_in_context() -> None:
    given = sites(task(), torch.tensor(0.0))
    assert measured(regression_loss, given).mean() == pytest.approx(4 + 0.125, rel=0.05)
    assert measured(distance_to_prior, given).eq(0).all()
    score = measured(regression_icl_score, given)
    assert (score.mean(0).abs() < 4 * score.std(0) / math.sqrt(4000)).all()
    # Inputs three times as long give answers of 9 D + 1/8, which is divided by 9.
    expected = [4 + 0.125 / g**2 for g in (3, 5, 10)]
    assert measured(shifted_loss, given).mean(0).tolist() == pytest.approx(expected * 2, rel=0.05)


def test_ridge_regression_is_at_no_distance_from_itself_and_learns_in_context() -> None:
    made = task()
    given = sites(made, made.fields["ridge"])
    assert measured(distance_to_ridge, given).eq(0).all()
    by_pair = measured(regression_loss_by_pair, given).mean(0)
    assert by_pair[0] == pytest.approx(4.125, rel=0.05)
    assert by_pair[7] < 0.4
    total, early, late = measured(regression_icl_score, given).mean(0).tolist()
    assert total == pytest.approx(early + late)
    assert early < -2.5
    assert -1.5 < late < -0.5
    assert measured(distance_to_prior, given).mean() > 1


def test_ridge_regression_is_that_of_numpy() -> None:
    made = task(n_examples=3)
    x, y = made.fields["inputs"][:, 0, ::2, 1:].double().numpy(), made.fields["answer"][:, 0].double().numpy()
    for example in range(3):
        for k in range(8):
            seen, answer = x[example, :k], y[example, :k]
            # The penalty as further data: sqrt(variance) times each unit vector, answered with 0.
            rows = np.concatenate([seen, math.sqrt(0.125) * np.eye(4)])
            weights = np.linalg.lstsq(rows, np.concatenate([answer, np.zeros(4)]), rcond=None)[0]
            assert made.fields["ridge"][example, k] == pytest.approx(weights @ x[example, k], abs=1e-4)


def test_the_best_guess_among_few_tasks_is_bayes_rule_and_beats_ridge_regression_there() -> None:
    made = task(n_tasks=3)
    tasks = training_tasks(Settings(n_tasks=3)).double()
    x, y = made.fields["inputs"][0, 0, ::2, 1:].double(), made.fields["answer"][0, 0].double()
    for k in range(8):
        likelihood = torch.ones(3, dtype=torch.float64)
        for j in range(k):
            likelihood *= torch.distributions.Normal(tasks @ x[j], math.sqrt(0.125)).log_prob(y[j]).exp()
        expected = float((likelihood / likelihood.sum()) @ (tasks @ x[k]))
        assert made.fields["dmmse"][0, k] == pytest.approx(expected, abs=1e-3)
    best, ridge = (measured(regression_loss, sites(made, made.fields[name])).mean() for name in ("dmmse", "ridge"))
    assert best < 0.5 * ridge
    assert measured(distance_to_dmmse, sites(made, made.fields["dmmse"])).eq(0).all()
    assert measured(distance_to_prior, sites(made, made.fields["prior"])).eq(0).all()
    assert made.fields["prior"][0].double().tolist() == pytest.approx((x @ tasks.mean(0)).tolist(), abs=1e-4)


def test_without_end_of_tasks_the_best_guess_is_ridge_regression() -> None:
    made = task()
    assert torch.equal(made.fields["dmmse"], made.fields["ridge"])
    assert made.fields["prior"].eq(0).all()


def test_each_shift_makes_the_same_example_longer() -> None:
    made = task(n_examples=5)
    x, w, noise = draw(Settings(n_examples=5), 5, torch.Generator().manual_seed(1))
    assert list(SHIFTS)[1:] == list(SHIFTED)
    for place, (inputs, weights) in enumerate(SHIFTS.values()):
        assert torch.equal(made.fields["inputs"][:, place, ::2, 1:], inputs * x)
        assert torch.equal(made.fields["answer"][:, place], answers(inputs * x, weights * w, noise))
        assert torch.equal(made.fields["inputs"][:, place, 1::2, 0], made.fields["answer"][:, place])
    assert made.hash == task(n_examples=5).hash != task(n_examples=5, seed=1).hash


def test_fewer_pairs_than_dimensions_have_no_score_at_the_last_dimension() -> None:
    score = regression_icl_score(torch.zeros(1, 1, 2), torch.ones(1, 1, 2), torch.zeros(1, 1, 4, 5))
    assert score.isnan().tolist() == [[False, True, True]]


def test_outputs_that_are_not_finite_give_nan() -> None:
    made = task(n_examples=2)
    given = sites(made, torch.tensor(0.0)) | {"outputs": torch.full_like(made.fields["answer"], torch.nan)}
    assert all(measured(metric, given).isnan().all() for metric in METRICS)


def test_inputs_are_left_as_they_are() -> None:
    made = task(n_examples=3)
    given = sites(made, torch.tensor(1.0))
    before = {name: value.clone() for name, value in given.items()}
    for metric in METRICS:
        measured(metric, given)
    assert all(torch.equal(given[name], before[name]) for name in given)


def test_a_model_of_other_sizes_is_refused() -> None:
    with pytest.raises(UsageError, match="needs tokens of 5 numbers and 16 positions; the model has 4 and 16"):
        build_task("linear_regression", {}, Subject(4, 16, None, None))


def test_the_transformer_has_the_papers_parameters_and_cannot_see_the_answer_that_it_predicts() -> None:
    model = RegressionTransformer(RegressionTransformerConfig())
    assert sum(parameter.numel() for parameter in model.parameters()) == 51_717  # as the published code counts
    inputs = task(n_examples=2).fields["inputs"]
    changed = inputs.clone()
    changed[:, :, 7] += 1.0  # the fourth answer
    with torch.no_grad():
        before, after = model(inputs), model(changed)
    assert before.shape == (2, 7, 8)
    assert torch.equal(before[..., :4], after[..., :4])
    assert (before[..., 4:] != after[..., 4:]).all()


@pytest.mark.slow
def test_the_task_prior_is_learnt_before_the_context_is_read(tmp_path: Path) -> None:
    recipe = read_recipe(ROOT / "runs" / "linear-regression.toml")
    short = recipe.train.model_copy(update={"steps": 400, "checkpoints": "every:25"})
    recipe = recipe.model_copy(update={"train": short})
    train_recipe(recipe, tmp_path / CHECKPOINTS)
    series = open_series(f"folder:{tmp_path / CHECKPOINTS / recipe.series_of_seed(0)}")
    read = ["regression_loss", "distance_to_prior", "regression_icl_score"]
    curves = sweep.measure(series, read, out=tmp_path, settings=sweep.Settings(recipe.tasks)).measurements()

    def curve(metric: str) -> pl.Series:
        return curves.filter(pl.col("metric") == metric).sort("step")["value"]

    prior, loss = curve("distance_to_prior"), curve("regression_loss")
    lowest = prior.arg_min()
    assert 0 < lowest < len(prior) - 1
    assert prior[lowest] < 0.1
    assert prior[-1] > 0.5
    assert loss[lowest] == pytest.approx(4.125, rel=0.1)
    assert loss[-1] < 3.2
    gained = curves.filter((pl.col("label") == "first to last") & (pl.col("step") == 400))["value"]
    assert gained[0] < -1
