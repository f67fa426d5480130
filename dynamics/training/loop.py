"""The training loop: the same for every task, repeatable, and able to go on from where it was stopped.

The loss at a step is a function of the weights and the step's number alone, so the state to go on from is the weights
and the optimizer's: whoever stops a training and starts it again gets, on one machine, the same weights to the bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedModel

from dynamics.errors import DynamicsError
from dynamics.recipe import OptimizerSettings
from dynamics.training import muon
from dynamics.training.saving import History, save

OnStep = Callable[[str, int, int], None]

# Matrices this small run slower on several threads, and one thread adds up in one order.
ONE_THREAD_BELOW = 5_000_000
# Between checkpoints that are far apart, so that little is lost when the process is killed.
SECONDS_BETWEEN_STATES = 20.0


@dataclass(frozen=True)
class Trainee:
    """A model at its initial weights, and its loss on the batch of a step, which depends on the step alone."""

    model: PreTrainedModel
    loss: Callable[[int], Tensor]
    tokenizer: Tokenizer | None = None


@dataclass(frozen=True)
class Plan:
    """How long, which steps to keep, with which optimizer; `conditions` name all of it for whoever comes later."""

    steps: int
    keep: frozenset[int]
    optimizer: OptimizerSettings
    conditions: Mapping[str, Any]


def fit(trainee: Trainee, folder: Path, plan: Plan, on_step: OnStep | None = None) -> Path:
    """Train, keeping `folder/stepN` at the planned steps and the loss of every step in `folder/losses.csv`.

    The loss in row N is that of the weights of step N, on the batch that leads to step N + 1. Raises `UsageError` for
    a folder that holds another training, and `DynamicsError` when the loss is no longer finite.
    """
    history = History(folder, plan.conditions)
    if history.is_whole(plan.steps):
        return folder
    model = trainee.model.train()
    optimizer = _optimizer(model, plan.optimizer)
    losses = history.resume(model, optimizer)
    written = time.monotonic()
    with _one_thread(model):
        for step in range(len(losses), plan.steps):
            kept = step in plan.keep
            if kept:
                save(model, folder / f"step{step}", trainee.tokenizer)
            if kept or time.monotonic() - written > SECONDS_BETWEEN_STATES:
                history.write_state(model, optimizer, losses)
                written = time.monotonic()
            losses.append(_step(trainee, optimizer, share_of_rate(plan.optimizer, step, plan.steps), step))
            if on_step is not None:
                on_step(folder.name, step + 1, plan.steps)
    save(model, folder / f"step{plan.steps}", trainee.tokenizer)
    history.finish(losses)
    return folder


def generator(*numbers: int) -> torch.Generator:
    """A random stream of its own for some numbers, such as a seed and a step."""
    mixed = np.random.SeedSequence(numbers).generate_state(1)[0]
    return torch.Generator().manual_seed(int(mixed))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights from a seed, and leave everyone else's random numbers as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def share_of_rate(settings: OptimizerSettings, step: int, steps: int) -> float:
    """The share of its rate at which a step is made: straight lines up from the first, and down to none at the end.

    >>> rising_and_falling = OptimizerSettings(warm_up_steps=2, cool_down_steps=2)
    >>> [share_of_rate(rising_and_falling, step, 6) for step in range(6)]
    [0.0, 0.5, 1.0, 1.0, 1.0, 0.5]
    """
    if step < settings.warm_up_steps:
        return settings.warm_up_from + (1 - settings.warm_up_from) * step / settings.warm_up_steps
    return min(1.0, (steps - step) / settings.cool_down_steps) if settings.cool_down_steps else 1.0


def _step(trainee: Trainee, optimizer: torch.optim.Optimizer, share: float, step: int) -> float:
    for group in optimizer.param_groups:
        group["lr"] = group["whole_rate"] * share
    loss = trainee.loss(step)
    value = loss.item()
    if not math.isfinite(value):
        msg = f"the loss is {value} at step {step}; expected a finite number; lower 'train.optimizer.learning_rate'"
        raise DynamicsError(msg)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return value


def _optimizer(model: PreTrainedModel, settings: OptimizerSettings) -> torch.optim.Optimizer:
    decay, rate = settings.weight_decay, settings.learning_rate
    if settings.kind == "muon":
        matrices, rest = muon.split(model)
        groups = [{"params": matrices, "muon": True, "whole_rate": settings.matrix_learning_rate},
                  {"params": rest, "muon": False, "whole_rate": rate}]  # fmt: skip
        return muon.MuonAndAdamW(groups, rate, betas=settings.betas, weight_decay=decay)
    groups = [{"params": list(model.parameters()), "whole_rate": rate}]
    if settings.kind == "sgd":
        return torch.optim.SGD(groups, rate, momentum=settings.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if settings.kind == "adamw" else torch.optim.Adam
    return kind(groups, rate, betas=settings.betas, weight_decay=decay)


@contextmanager
def _one_thread(model: PreTrainedModel) -> Iterator[None]:
    before = torch.get_num_threads()
    if sum(parameter.numel() for parameter in model.parameters()) < ONE_THREAD_BELOW:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
