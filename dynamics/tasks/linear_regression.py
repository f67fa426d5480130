"""Linear regression in context: pairs of x and y = w . x + noise, one w for each example (Garg et al. 2022)."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from dynamics.errors import UsageError
from dynamics.tasks import Subject, Task, TaskSettings
from metrics.linear_regression import SHIFTS

FIELDS = ("inputs", "answer", "ridge", "dmmse", "prior")


class Settings(TaskSettings):
    """`n_pairs` pairs with `n_dimensions` inputs, standard normal; so are the weights, drawn anew for each example or,
    with `n_tasks`, from that many drawn once with `seed`. By default the numbers of Hoogland et al. 2024."""

    n_dimensions: int = Field(default=4, ge=1)
    n_pairs: int = Field(default=8, ge=2)
    noise_variance: float = Field(default=0.125, gt=0)
    n_tasks: int | None = Field(default=None, ge=1)
    n_examples: int = Field(default=1024, ge=2)
    seed: int = 0


def build(settings: Settings, subject: Subject) -> Task:
    """A fixed batch, each example as trained and with longer inputs or weights, and what others would predict."""
    if (subject.d_vocab, subject.n_ctx) != (settings.n_dimensions + 1, 2 * settings.n_pairs):
        msg = (
            f"linear regression with {settings.n_dimensions} inputs and {settings.n_pairs} pairs needs tokens of "
            f"{settings.n_dimensions + 1} numbers and {2 * settings.n_pairs} positions; the model has "
            f"{subject.d_vocab} and {subject.n_ctx}; set 'n_dimensions' and 'n_pairs' to what it was trained on"
        )
        raise UsageError(msg)
    generator = torch.Generator().manual_seed(settings.seed + 1)  # the tasks are drawn with the seed itself
    x, w, noise = draw(settings, settings.n_examples, generator)
    shifted = [(inputs * x, answers(inputs * x, weights * w, noise)) for inputs, weights in SHIFTS.values()]
    tasks, y = training_tasks(settings), shifted[0][1]
    fields = {
        "inputs": torch.stack([tokens(*pair) for pair in shifted], 1),
        "answer": torch.stack([answer for _, answer in shifted], 1),
        "ridge": ridge(x, y, settings.noise_variance),
        "dmmse": ridge(x, y, settings.noise_variance) if tasks is None else dmmse(x, y, tasks, settings.noise_variance),
        "prior": torch.zeros_like(y) if tasks is None else x @ tasks.mean(0),
    }
    return Task("linear_regression", fields, settings.model_dump(), settings.seed, batch_size=512)


def training_tasks(settings: Settings) -> Tensor | None:
    """The weights that training draws from, [n_tasks n_dimensions]; None where they are drawn anew."""
    if settings.n_tasks is None:
        return None
    generator = torch.Generator().manual_seed(settings.seed)
    return torch.randn(settings.n_tasks, settings.n_dimensions, generator=generator)


def draw(settings: Settings, n_examples: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs x [example pair dimension], weights w [example dimension] and noise [example pair]."""
    x = torch.randn(n_examples, settings.n_pairs, settings.n_dimensions, generator=generator)
    tasks = training_tasks(settings)
    if tasks is None:
        w = torch.randn(n_examples, settings.n_dimensions, generator=generator)
    else:
        w = tasks[torch.randint(len(tasks), (n_examples,), generator=generator)]
    noise = math.sqrt(settings.noise_variance) * torch.randn(n_examples, settings.n_pairs, generator=generator)
    return x, w, noise


def answers(x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
    """y = w . x + noise, [example pair]."""
    return (x * w[:, None]).sum(-1) + noise


def tokens(x: Tensor, y: Tensor) -> Tensor:
    """[0 x] and [y 0 .. 0] in turn, [example 2*pair 1+dimension], as in the published code.

    >>> tokens(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[3.0]])).tolist()
    [[[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]]]
    """
    y = y[..., None]
    both = torch.stack([torch.cat([torch.zeros_like(y), x], -1), torch.cat([y, torch.zeros_like(x)], -1)], 2)
    return both.flatten(1, 2)


def ridge(x: Tensor, y: Tensor, penalty: float) -> Tensor:
    """What ridge regression on the pairs before predicts for each input, [example pair].

    >>> ridge(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[3.0, 0.0]]), 0.5)
    tensor([[0., 4.]])
    """
    unit = penalty * torch.eye(x.shape[-1])
    predicted = []
    for k in range(x.shape[1]):
        seen = x[:, :k]
        weights = torch.linalg.solve(seen.mT @ seen + unit, seen.mT @ y[:, :k, None])
        predicted.append((x[:, k] * weights[..., 0]).sum(-1))
    return torch.stack(predicted, 1)


def dmmse(x: Tensor, y: Tensor, tasks: Tensor, noise_variance: float) -> Tensor:
    """What the mean of the tasks, weighed by how well they fit the pairs before, predicts, [example pair].

    >>> dmmse(torch.ones(1, 2, 1), torch.tensor([[9.0, 0.0]]), torch.tensor([[9.0], [-9.0]]), 0.5)
    tensor([[0., 9.]])
    """
    by_task = x @ tasks.T  # [example pair task]
    fit = -(y[..., None] - by_task).square() / (2 * noise_variance)
    before = fit.cumsum(1) - fit
    return (before.softmax(-1) * by_task).sum(-1)
