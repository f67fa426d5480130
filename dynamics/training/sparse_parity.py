"""One hidden layer on sparse parity, with the hinge loss on fresh signs at every step (Barak et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from torch import Tensor

from dynamics.architectures.small_mlp import SmallMLP, SmallMLPConfig
from dynamics.tasks import TaskSettings
from dynamics.tasks.sparse_parity import Settings, check, draw, parity
from dynamics.training.loop import Trainee, generator, seeded


class Model(TaskSettings):
    """The width of the hidden layer, and how many examples a step sees."""

    d_mlp: int = Field(default=100, ge=1)
    batch_size: int = Field(default=32, ge=1)


def prepare(model: Model, task: Mapping[str, Any], seed: int) -> Trainee:
    """The hinge loss max(0, 1 - y f(x)), averaged over examples."""
    settings = Settings(**task)
    check(settings)
    with seeded(seed):
        network = SmallMLP(SmallMLPConfig(d_in=settings.n_bits, d_mlp=model.d_mlp, d_out=1))

    def loss(step: int) -> Tensor:
        inputs = draw(settings, model.batch_size, generator(seed, step))
        return (1 - parity(settings, inputs) * network(inputs).squeeze(1)).clamp(min=0).mean()

    return Trainee(network, loss)
