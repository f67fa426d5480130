"""Langevin: windows of a text, and how the weights around a checkpoint are sampled on them.

The numbers of different checkpoints can be compared only at the same settings, which are stored with them.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from dynamics.sites.langevin import Sampling
from dynamics.tasks import Subject, Task, text

FIELDS = (*text.FIELDS, "sampling", "n_beta", "burn_in")


class Settings(text.Settings):
    """The text as for the task 'text', in windows of 64 tokens or what the context has room for, unless `length` says.

    `n_beta` is the inverse temperature, `localization` the pull back to the checkpoint's weights, `step_size` that of
    the dynamics. Each of `chains` takes `draws` steps on mini-batches of `batch_size` windows; the first `burn_in` are
    not read.
    """

    n_examples: int = Field(default=256, ge=1)
    stderr_of: str = "local_learning_coefficient"
    n_beta: float = Field(default=30.0, gt=0)
    localization: float = Field(default=300.0, ge=0)
    step_size: float = Field(default=1e-4, gt=0)
    chains: int = Field(default=4, ge=1)
    draws: int = Field(default=200, ge=1)
    burn_in: int = Field(default=0, ge=0)
    batch_size: int = Field(default=16, ge=1)


def build(settings: Settings, subject: Subject) -> Task:
    """Windows of the text and what the sampling needs to know."""
    settings = text.with_length(settings, subject, usual=64, what="langevin")
    windows = text.build(settings, subject)
    how = Sampling(
        settings.n_beta, settings.localization, settings.step_size, settings.chains, settings.draws,
        settings.batch_size, settings.seed,
    )  # fmt: skip
    fields = {**windows.fields, "sampling": how, "n_beta": settings.n_beta, "burn_in": settings.burn_in}
    return replace(windows, name="langevin", fields=fields)
