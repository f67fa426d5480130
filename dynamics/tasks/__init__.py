"""Tasks: the fixed inputs that metrics are measured on. One file for each.

A task file `name.py` has `FIELDS`, what metrics may read from it by name; `Settings`, a pydantic model of what a
recipe may set; and `build(settings, subject) -> Task`. `FROM_LAST = True` says that it is built with the weights of
the last checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from dynamics.errors import UsageError, unknown
from dynamics.store import to_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TaskSettings(BaseModel):
    """What every task's settings share: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SampledSettings(TaskSettings):
    """Settings of a task whose examples are a sample: how many, or how exact the mean over them has to be.

    With `stderr`, a pilot of `n_examples` examples decides how many it takes for that standard error of the metric
    `stderr_of`, in its unit; a metric by layer and head is held to it at its widest entry. See `dynamics/sizing.py`.
    """

    n_examples: int = Field(default=64, ge=1)
    stderr: float | None = Field(default=None, gt=0)
    stderr_of: str


@dataclass(frozen=True)
class Subject:
    """What a task needs to know of the model it is for; `module` is that model, with the weights of the checkpoint
    that the task is built at: the last one for a task file that says `FROM_LAST = True`."""

    d_vocab: int
    n_ctx: int
    bos: int | None
    tokenizer: Path | None
    module: PreTrainedModel | None = None


@dataclass(frozen=True)
class Task:
    """A fixed, seeded, hashed batch of inputs.

    `fields` holds `tokens` [batch pos], or for models that read numbers `inputs` [example input], and whatever else
    metrics read; tensors whose first dimension is the batch are
    cut along with it. `exhaustive` says that the examples are all there are, so that their mean has no sampling
    error. `read_positions` are the positions whose logits metrics read; None for every one.
    """

    name: str
    fields: Mapping[str, Any]
    settings: Mapping[str, Any]
    seed: int | None = None
    exhaustive: bool = False
    read_positions: tuple[int, ...] | None = None
    batch_size: int = field(default=0, compare=False)  # 0: chosen by the number of tokens

    @property
    def tokens(self) -> Tensor:
        """[batch pos]"""
        return self.fields["tokens"]

    @property
    def examples(self) -> Tensor:
        """What the model is given: tokens, or the inputs of a model that reads numbers."""
        return self.fields["inputs" if "inputs" in self.fields else "tokens"]

    @property
    def n_examples(self) -> int:
        """How many sequences, or rows of inputs."""
        return self.examples.shape[0]

    @cached_property
    def hash(self) -> str:
        """SHA-256 over everything that a metric can read."""
        digest = hashlib.sha256(f"{self.name} {self.read_positions} {self.exhaustive}".encode())
        for name in sorted(self.fields):
            value = self.fields[name]
            digest.update(name.encode())
            if isinstance(value, Tensor):
                digest.update(f"{value.dtype} {list(value.shape)}".encode())
                digest.update(value.contiguous().numpy().tobytes())
            else:
                digest.update(to_json(value).encode())
        return digest.hexdigest()

    def batches(self, device: torch.device) -> Iterator[dict[str, Any]]:
        """The fields, a few examples at a time, on the device."""
        size = self.batch_size or max(1, TOKENS_PER_BATCH // self.examples.shape[1])
        for start in range(0, self.n_examples, size):
            rows = slice(start, start + size)
            yield {name: self._on(device, value, rows) for name, value in self.fields.items()}

    def whole(self, device: torch.device) -> dict[str, Any]:
        """All fields at once, on the device."""
        return {name: self._on(device, value, slice(None)) for name, value in self.fields.items()}

    def _on(self, device: torch.device, value: Any, rows: slice) -> Any:
        if not isinstance(value, Tensor):
            return value
        part = value[rows] if value.ndim and value.shape[0] == self.n_examples else value
        return part.to(device, non_blocking=True)


# Enough work for a kernel to run at full speed, and little enough memory for a laptop.
TOKENS_PER_BATCH = 4096


@cache
def task_files() -> dict[str, ModuleType]:
    """Every task by name."""
    names = sorted(module.name for module in iter_modules(__path__))
    return {name: module for name in names if hasattr(module := import_module(f"{__name__}.{name}"), "build")}


def is_from_last(name: str | None) -> bool:
    """Whether a task is made with the weights of the last checkpoint."""
    return name is not None and getattr(task_files().get(name), "FROM_LAST", False)


def build_task(name: str, settings: Mapping[str, Any], subject: Subject) -> Task:
    """A task with the given settings for the given model. Raises `UsageError` for unknown names and bad values."""
    checked = read_settings(name, settings)
    return task_files()[name].build(checked, subject)


def read_settings(name: str, settings: Mapping[str, Any]) -> TaskSettings:
    """The settings of a task, checked. Raises `UsageError` for unknown names and bad values."""
    if name not in task_files():
        raise unknown(name, task_files(), kind="task", listed_by="dynamics list tasks")
    module = task_files()[name]
    try:
        return module.Settings(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        known = ", ".join(module.Settings.model_fields)
        msg = f"task {name!r}, setting {where!r}: {first['msg']} (got {first['input']!r}); its settings are {known}"
        raise UsageError(msg) from error
