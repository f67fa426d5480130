"""Sparse parity: of n signs the product of k, the same k always, is to be learnt (Barak et al. 2022)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from dynamics.errors import UsageError
from dynamics.tasks import Subject, Task, TaskSettings

FIELDS = ("inputs", "answer", "relevant")


class Settings(TaskSettings):
    """`n_bits` signs, of which the first `n_relevant` count; which ones they are makes no difference to a network."""

    n_bits: int = Field(default=30, ge=1)
    n_relevant: int = Field(default=3, ge=1)
    n_examples: int = Field(default=4096, ge=1)
    seed: int = 0


def build(settings: Settings, subject: Subject) -> Task:  # noqa: ARG001  (every task is built for a model)
    """A fixed batch of uniform signs +-1, the product of the relevant ones, and which they are."""
    check(settings)
    inputs = draw(settings, settings.n_examples, torch.Generator().manual_seed(settings.seed))
    relevant = torch.arange(settings.n_bits) < settings.n_relevant
    fields = {"inputs": inputs, "answer": parity(settings, inputs), "relevant": relevant}
    return Task("sparse_parity", fields, settings.model_dump(), settings.seed)


def check(settings: Settings) -> None:
    """Refuse more relevant bits than there are, and sizes that make fields look like batches."""
    if settings.n_relevant >= settings.n_bits or settings.n_bits == settings.n_examples:
        msg = (
            f"sparse parity of {settings.n_relevant} among {settings.n_bits} bits on {settings.n_examples} examples: "
            "expected fewer relevant bits than bits, and another number of examples than of bits"
        )
        raise UsageError(msg)


def draw(settings: Settings, n_examples: int, generator: torch.Generator) -> Tensor:
    """Uniform signs, [n_examples n_bits]."""
    return 2.0 * torch.randint(0, 2, (n_examples, settings.n_bits), generator=generator) - 1


def parity(settings: Settings, inputs: Tensor) -> Tensor:
    """The product of the relevant signs, [n_examples]."""
    return inputs[:, : settings.n_relevant].prod(1)
