"""The local learning coefficient: closed forms, degenerate minima, devinterp's own sampler, and weights untouched."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import scipy.integrate
import torch
from torch import Tensor

import dynamics
from conftest import tiny_model as small_transformer
from dynamics.sites.langevin import Sampling, Weights, around, sample
from metrics.learning_coefficient import langevin_drift, local_learning_coefficient
from tiny_models import random_tokens, tiny_model

Potential = Callable[[Tensor], Tensor]


REPLICAS = 200  # independent copies of a potential in one chain: what is estimated is the sum over them


def estimate(potential: Potential, dimensions: int, how: Sampling, burn_in: int = 300) -> tuple[float, float]:
    """The estimate of one copy and its standard error over chains."""

    def loss(weights: Weights, _: Tensor) -> Tensor:
        return potential(weights["w"]).sum()

    losses = sample(loss, {"w": torch.zeros(REPLICAS, dimensions)}, 8, how)
    values = local_learning_coefficient(losses, torch.zeros(()), how.n_beta, burn_in) / REPLICAS
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


def quadratic(w: Tensor) -> Tensor:
    return w.square().sum(-1) / 2


def test_the_quadratic_has_its_closed_form() -> None:
    """(d / 2) n_beta / (a (1 - eps a / 4)) with a = n_beta + gamma: 4.6740 here, the bias of the steps included."""
    how = Sampling(100.0, 10.0, 1e-3, chains=4, draws=800, batch_size=4, seed=0)
    a = how.n_beta + how.localization
    exact = 10 / 2 * how.n_beta / (a * (1 - how.step_size * a / 4))
    assert exact == pytest.approx(4.6740, abs=1e-4)
    value, error = estimate(quadratic, 10, how)
    assert value == pytest.approx(exact, abs=4 * error)
    assert error < 0.03


def test_flat_directions_do_not_count() -> None:
    """The control: of ten weights the loss depends on two, so the coefficient is 1 and not 5."""
    how = Sampling(100.0, 1.0, 1e-3, chains=4, draws=800, batch_size=4, seed=0)
    value, error = estimate(lambda w: w[:, :2].square().sum(-1) / 2, 10, how)
    assert value == pytest.approx(1.0, abs=max(4 * error, 0.03))


def test_a_quartic_minimum_is_half_as_steep() -> None:
    """The coefficient of a sum of fourth powers is d / 4 at every temperature."""
    how = Sampling(1000.0, 0.0, 2e-4, chains=4, draws=2500, batch_size=4, seed=0)
    value, error = estimate(lambda w: w.pow(4).sum(-1), 8, how, burn_in=1000)
    assert value == pytest.approx(8 / 4, abs=max(4 * error, 0.05))


def test_a_normal_crossing_is_what_its_density_integrates_to() -> None:
    """w1^2 w2^2, whose coefficient is 1/2 in the limit: here against numerical integration at the same settings."""
    how = Sampling(200.0, 20.0, 1e-3, chains=4, draws=1500, batch_size=4, seed=0)

    def density(y: float, x: float) -> float:
        return math.exp(-how.n_beta * x * x * y * y - how.localization * (x * x + y * y) / 2)

    below = scipy.integrate.dblquad(density, 0, 4, 0, 4)[0]
    above = scipy.integrate.dblquad(lambda y, x: how.n_beta * x * x * y * y * density(y, x), 0, 4, 0, 4)[0]
    exact = above / below
    assert 0.1 < exact < 0.5
    value, error = estimate(lambda w: w[:, 0] ** 2 * w[:, 1] ** 2, 2, how)
    assert value == pytest.approx(exact, abs=max(4 * error, 0.02))


def test_equals_devinterps_sampler() -> None:
    """Run where devinterp is installed: its optimizer on the same quadratic."""
    sgld = pytest.importorskip("devinterp.optim.sgmcmc").SGMCMC.sgld
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(REPLICAS, 10))
    optimizer = sgld([weight], lr=1e-3, nbeta=100.0, localization=10.0)
    losses = []
    for _ in range(2000):
        optimizer.zero_grad()
        value = quadratic(weight).sum()
        value.backward()
        losses.append(float(value))
        optimizer.step()
    theirs = 100 * sum(losses[300:]) / len(losses[300:]) / REPLICAS
    ours, error = estimate(quadratic, 10, Sampling(100.0, 10.0, 1e-3, chains=4, draws=800, batch_size=4, seed=0))
    assert ours == pytest.approx(theirs, abs=max(6 * error, 0.03))


def test_without_noise_a_chain_is_gradient_descent_on_its_batches() -> None:
    """By hand: two steps of a loss w x of each example, with the pull back to the start."""
    x = torch.tensor([1.0, 1.0])
    how = Sampling(2.0, 3.0, 1e-12, chains=1, draws=2, batch_size=2, seed=0)
    losses = sample(lambda weights, rows: (weights["w"] * x[rows]).mean(), {"w": torch.tensor(5.0)}, 2, how)
    assert losses.tolist() == [pytest.approx([5.0, 5.0], abs=1e-5)]
    moved = Sampling(2.0, 3.0, 0.5, chains=3, draws=2, batch_size=2, seed=0)
    traces = sample(lambda weights, rows: (weights["w"] * x[rows]).mean(), {"w": torch.tensor(5.0)}, 2, moved)
    drift, noise = -0.5 / 2 * 2.0 * 1.0, math.sqrt(0.5)
    assert ((traces[:, 1] - 5.0 - drift).abs() < 4 * noise).all()
    assert len(set(traces[:, 1].tolist())) == 3  # chains have noise of their own


def test_every_example_is_seen_before_one_is_seen_again() -> None:
    seen: list[list[int]] = []

    def loss(weights: Weights, rows: Tensor) -> Tensor:
        seen.append(sorted(rows.tolist()))
        return weights["w"].square()

    sample(loss, {"w": torch.tensor(1.0)}, 7, Sampling(1.0, 0.0, 1e-3, chains=1, draws=6, batch_size=2, seed=0))
    for epoch in (seen[:3], seen[3:]):
        drawn = [row for batch in epoch for row in batch]
        assert len(set(drawn)) == len(drawn) == 6


@pytest.mark.parametrize("family", ["gpt_neox", "gpt2", "gemma2", "small"])
def test_a_models_weights_are_as_before_and_the_seed_fixes_the_chains(family: str) -> None:
    module = small_transformer().requires_grad_(False) if family == "small" else tiny_model(family)
    tokens = random_tokens(6, 12) % 20
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(5)
    how = Sampling(10.0, 100.0, 1e-4, chains=2, draws=5, batch_size=3, seed=1)
    answer = around(module, tokens, how)
    state = torch.get_rng_state()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in module.parameters())
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), state)  # the noise is the sampler's own
    again = around(module, tokens, how)
    assert torch.equal(answer["langevin_losses"], again["langevin_losses"])
    with torch.no_grad():
        logits = module(input_ids=tokens, use_cache=False).logits[:, :-1].double()
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    assert float(answer["langevin_start"]) == pytest.approx(float(expected), rel=1e-5)
    # two batches of three are all six: at the start the first two steps average to the loss there, but for one step
    assert answer["langevin_losses"].shape == (2, 5)
    assert float(answer["langevin_losses"][0, :2].mean()) == pytest.approx(float(expected), rel=0.1)


def test_by_hand_gaps_and_inputs() -> None:
    losses = torch.tensor([[1.0, 3.0, 3.0, 5.0, 5.0], [1.0, float("inf"), 1.0, 1.0, 1.0]])
    before = losses.clone()
    assert local_learning_coefficient(losses, torch.tensor(1.0), 2.0, 1)[0] == 6
    assert local_learning_coefficient(losses, torch.tensor(1.0), 2.0, 1)[1].isnan()
    assert local_learning_coefficient(losses[:1], torch.tensor(4.0), 2.0, 0)[0] < 0  # not at a minimum
    assert langevin_drift(losses[:1], 2.0, 1).tolist() == [0.0]
    assert langevin_drift(losses[:1], 2.0, 2).isnan().all()
    assert torch.equal(losses, before)


def test_over_a_series_chains_are_the_examples(tiny_series: Path, text: Path, tmp_path: Path) -> None:
    tasks = {"langevin": {"path": str(text), "documents": "lines", "length": 12, "chains": 3, "draws": 4}}
    series = dynamics.open_series(f"folder:{tiny_series}", steps="0,1000")
    names = ["local_learning_coefficient", "langevin_drift"]
    run = dynamics.measure(series, names, out=tmp_path / "run", settings=dynamics.Settings(tasks=tasks))
    frame = run.measurements()
    assert frame["n"].to_list() == [3] * 4
    assert frame["value"].null_count() == frame["stderr"].null_count() == 0
    stored = run.query("SELECT settings ->> 'n_beta' AS b, settings ->> 'step_size' AS e FROM tasks").row(0)
    assert [float(value) for value in stored] == [30.0, 1e-4]
