"""Many sparse parities at once, some asked far more often than others (Michaud et al. 2023)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from dynamics.errors import UsageError
from dynamics.tasks import Subject, Task, TaskSettings

FIELDS = ("inputs", "answer", "subtask", "frequency")


class Settings(TaskSettings):
    """Subtask i is asked with a chance in proportion to (i + 1)^-exponent, and answers with the parity of its own
    `n_relevant` bits of `n_bits`, drawn with `seed`. Each subtask is measured on `n_examples` inputs."""

    n_subtasks: int = Field(default=8, ge=1)
    n_bits: int = Field(default=32, ge=1)
    n_relevant: int = Field(default=3, ge=1)
    exponent: float = Field(default=1.4, ge=0)
    n_examples: int = Field(default=512, ge=1)
    seed: int = 0


def build(settings: Settings, subject: Subject) -> Task:  # noqa: ARG001  (every task is built for a model)
    """The same number of inputs for every subtask, so that rare ones are measured as well as common ones."""
    rows, subsets = settings.n_subtasks * settings.n_examples, relevant_bits(settings)
    if settings.n_subtasks == rows:
        msg = f"{settings.n_examples} example for each of {settings.n_subtasks} subtasks; expected more than one"
        raise UsageError(msg)
    generator = torch.Generator().manual_seed(settings.seed + 1)  # the subsets are drawn with the seed itself
    subtask = torch.arange(settings.n_subtasks).repeat_interleave(settings.n_examples)
    inputs, answer = ask(settings, subsets, subtask, generator)
    fields = {"inputs": inputs, "answer": answer, "subtask": subtask, "frequency": frequency(settings)}
    return Task("multitask_parity", fields, settings.model_dump(), settings.seed)


def relevant_bits(settings: Settings) -> Tensor:
    """Which bits each subtask's answer is the parity of, [n_subtasks n_relevant]."""
    if settings.n_relevant > settings.n_bits:
        msg = f"a parity of {settings.n_relevant} of {settings.n_bits} bits; expected no more relevant bits than bits"
        raise UsageError(msg)
    generator = torch.Generator().manual_seed(settings.seed)
    order = [torch.randperm(settings.n_bits, generator=generator) for _ in range(settings.n_subtasks)]
    return torch.stack(order)[:, : settings.n_relevant]


def frequency(settings: Settings) -> Tensor:
    """How often each subtask is asked, [n_subtasks], adding up to 1."""
    weight = torch.arange(1, settings.n_subtasks + 1, dtype=torch.float64) ** -settings.exponent
    return weight / weight.sum()


def ask(
    settings: Settings, subsets: Tensor, subtask: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Inputs [example n_subtasks+n_bits], the subtask's number as one-hot before the bits, and answers, 0 or 1."""
    bits = torch.randint(0, 2, (len(subtask), settings.n_bits), generator=generator)
    answer = bits.gather(1, subsets[subtask]).sum(1) % 2
    which = torch.nn.functional.one_hot(subtask, settings.n_subtasks)
    return torch.cat([which, bits], 1).float(), answer
