"""One hidden layer on many sparse parities at once: cross-entropy on fresh examples (Michaud et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from dynamics.architectures.small_mlp import SmallMLP, SmallMLPConfig
from dynamics.tasks import TaskSettings
from dynamics.tasks.multitask_parity import Settings, ask, frequency, relevant_bits
from dynamics.training.loop import Trainee, generator, seeded


class Model(TaskSettings):
    """The width of the hidden layer, and how many examples a step sees."""

    d_mlp: int = Field(default=128, ge=1)
    batch_size: int = Field(default=1000, ge=1)


def prepare(model: Model, task: Mapping[str, Any], seed: int) -> Trainee:
    """Two logits, for odd and even; the parities belong to the task, the weights and batches to the seed."""
    settings = Settings(**task)
    subsets, chances = relevant_bits(settings), frequency(settings)
    with seeded(seed):
        network = SmallMLP(SmallMLPConfig(
            d_in=settings.n_subtasks + settings.n_bits, d_mlp=model.d_mlp, d_out=2))  # fmt: skip

    def loss(step: int) -> Tensor:
        stream = generator(seed, step)
        subtask = torch.multinomial(chances, model.batch_size, replacement=True, generator=stream)
        inputs, answer = ask(settings, subsets, subtask, stream)
        return cross_entropy(network(inputs), answer)

    return Trainee(network, loss)
