"""A small transformer on linear regression in context: squared error on fresh examples (Hoogland et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from torch import Tensor
from torch.nn.functional import mse_loss

from dynamics.architectures.regression_transformer import RegressionTransformer, RegressionTransformerConfig
from dynamics.errors import UsageError
from dynamics.tasks import TaskSettings
from dynamics.tasks.linear_regression import Settings, answers, draw, tokens
from dynamics.training.loop import Trainee, generator, seeded


class Model(TaskSettings):
    """Sizes of the transformer, by default the paper's, and how many examples a step sees."""

    n_layers: int = Field(default=2, ge=1)
    n_heads: int = Field(default=4, ge=1)
    d_model: int = Field(default=64, ge=1)
    d_mlp: int = Field(default=64, ge=0)
    batch_size: int = Field(default=256, ge=1)


def prepare(model: Model, task: Mapping[str, Any], seed: int) -> Trainee:
    """The loss is the mean over pairs and examples. The seed moves weights and batches; where there are only so many
    tasks, these belong to the task."""
    settings = Settings(**task)
    if model.d_model % model.n_heads:
        msg = f"d_model = {model.d_model} is not a multiple of n_heads = {model.n_heads}; change one of them"
        raise UsageError(msg)
    with seeded(seed):
        network = RegressionTransformer(RegressionTransformerConfig(
            d_vocab=settings.n_dimensions + 1, n_ctx=2 * settings.n_pairs, n_layers=model.n_layers,
            n_heads=model.n_heads, d_model=model.d_model, d_head=model.d_model // model.n_heads, d_mlp=model.d_mlp,
        ))  # fmt: skip

    def loss(step: int) -> Tensor:
        x, w, noise = draw(settings, model.batch_size, generator(seed, step))
        y = answers(x, w, noise)
        return mse_loss(network(tokens(x, y)), y)

    return Trainee(network, loss)
