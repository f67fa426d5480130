"""The toy autoencoder of Elhage et al. 2022, on fresh sparse features at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from torch import Tensor

from dynamics.architectures.toy_superposition import ToySuperposition, ToySuperpositionConfig
from dynamics.tasks import TaskSettings
from dynamics.tasks.sparse_features import Settings, draw, importance
from dynamics.training.loop import Trainee, generator, seeded


class Model(TaskSettings):
    """The bottleneck, the scale of the first weights, and how many examples a step sees."""

    d_hidden: int = Field(default=2, ge=1)
    weight_scale: float = Field(default=1.0, gt=0)
    batch_size: int = Field(default=512, ge=1)


def prepare(model: Model, task: Mapping[str, Any], seed: int) -> Trainee:
    """The loss is the importance-weighted squared error, summed over features and averaged over examples."""
    settings = Settings(**task)
    with seeded(seed):
        network = ToySuperposition(ToySuperpositionConfig(
            n_features=settings.n_features, d_hidden=model.d_hidden, weight_scale=model.weight_scale))  # fmt: skip
    weight = importance(settings)

    def loss(step: int) -> Tensor:
        inputs = draw(settings, model.batch_size, generator(seed, step))
        return ((inputs - network(inputs)).square() * weight).sum(1).mean()

    return Trainee(network, loss)
