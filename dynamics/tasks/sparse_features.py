"""Sparse features to squeeze through a bottleneck: each is absent, or uniform in 0..1 (Elhage et al. 2022)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from dynamics.errors import UsageError
from dynamics.tasks import Subject, Task, TaskSettings

FIELDS = ("inputs", "importance")


class Settings(TaskSettings):
    """`density` is the chance that a feature is there. With `sets`, features come in that many equal sets whose
    members are there together, so that they are correlated. Feature i has the importance `importance_decay`^i."""

    n_features: int = Field(default=5, ge=1)
    density: float = Field(default=0.05, gt=0, le=1)
    sets: int | None = Field(default=None, ge=1)
    importance_decay: float = Field(default=1.0, gt=0, le=1)
    n_examples: int = Field(default=8192, ge=1)
    seed: int = 0


def build(settings: Settings, subject: Subject) -> Task:  # noqa: ARG001  (every task is built for a model)
    """A fixed large batch: the loss on a batch of training size is so noisy that the stages cannot be seen."""
    generator = torch.Generator().manual_seed(settings.seed)
    inputs = draw(settings, settings.n_examples, generator)
    fields = {"inputs": inputs, "importance": importance(settings)}
    return Task("sparse_features", fields, settings.model_dump(), settings.seed)


def draw(settings: Settings, n_examples: int, generator: torch.Generator) -> Tensor:
    """[n_examples n_features]"""
    n = settings.n_features
    groups = settings.sets or n
    if n % groups:
        msg = f"{n} features cannot be split into {groups} equal sets; choose a divisor of {n} as 'sets'"
        raise UsageError(msg)
    there = torch.rand(n_examples, groups, generator=generator) < settings.density
    return torch.rand(n_examples, n, generator=generator) * there.repeat_interleave(n // groups, 1)


def importance(settings: Settings) -> Tensor:
    """The weight of each feature in the loss, [n_features]."""
    return settings.importance_decay ** torch.arange(settings.n_features, dtype=torch.float32)
