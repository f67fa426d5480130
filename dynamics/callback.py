"""Measure a model while it is being trained: a transformers `TrainerCallback` that writes the same store as a sweep.

    trainer = Trainer(model, args, train_dataset=data, callbacks=[MeasureCallback(["loss"], out="runs/mine")])

The model in training is only read: what is measured is a copy, and every random state is put back, so that training
goes the same way with and without it.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dynamics.checkpoint import Checkpoint, Files, Weights, hash_tensors
from dynamics.errors import UsageError
from dynamics.sources import Series
from dynamics.sources.steps import select_steps
from dynamics.sweep import Settings, find_metric, measure
from dynamics.tasks import is_from_last

_LOG = logging.getLogger("dynamics")


class MeasureCallback(TrainerCallback):
    """Measures metrics at chosen steps into the store in folder `out`.

    `steps` is the language of `--steps` over all optimizer steps, by default about forty, even on a log axis; step 0
    is the model before training. A step that cannot be measured is recorded or logged, and training goes on. Raises
    `UsageError` at once for unknown metrics and for those that refer to another checkpoint, which is not kept.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        *,
        out: str | Path,
        steps: str | Sequence[int] = "log",
        name: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.metrics, self.out, self.steps = list(metrics), Path(out), steps
        self.name = name or self.out.name
        self.settings = replace(settings or Settings(), run_id=uuid.uuid4().hex[:12])
        for metric in map(find_metric, metrics):
            if others := sorted(metric.references | ({"final"} if is_from_last(metric.task) else set())):
                msg = (
                    f"metric {metric.name!r} refers to the {' and '.join(others)} checkpoint, which "
                    "is not at hand while training; save checkpoints and use 'dynamics measure' afterwards"
                )
                raise UsageError(msg)
        self.chosen: set[int] = set()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Fix the steps, and measure the model as it starts."""
        self.chosen = set(select_steps(range(state.max_steps + 1), self.steps))
        self._at(state, kwargs)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure after an optimizer step that was chosen."""
        self._at(state, kwargs)

    def _at(self, state: TrainerState, given: dict[str, Any]) -> None:
        if state.global_step not in self.chosen or not state.is_world_process_zero:
            return
        model = given["model"]
        tokens = state.num_input_tokens_seen or None
        checkpoint = Checkpoint(self.name, state.global_step, "", tokens, f"training step {state.global_step}")
        tokenizer = self._tokenizer(given.get("processing_class"))
        try:
            with _nothing_random_moves(model):
                files = Files((), tokenizer=tokenizer, opened=lambda: _weights(model))
                series = Series(self.name, "training", (checkpoint,), lambda _: files)
                measure(series, self.metrics, out=self.out, settings=self.settings)
        except Exception:  # days of training are worth more than one measurement
            _LOG.exception("%s could not be measured; training goes on", checkpoint)

    def _tokenizer(self, processing: Any) -> Path | None:
        backend = getattr(processing, "backend_tokenizer", None)
        if backend is None:
            return None
        path = self.out / "tokenizer.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            backend.save(str(path))
        return path


def _weights(model: PreTrainedModel) -> Weights:
    tensors = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    config = model.config.to_dict()
    return Weights.of(tensors, hash_tensors(tensors), sum(t.nbytes for t in tensors.values()), config=config)


@contextmanager
def _nothing_random_moves(model: PreTrainedModel) -> Iterator[None]:
    """Put back the random states of torch, numpy and Python."""
    ours, theirs = random.getstate(), np.random.get_state()
    devices = [model.device.index or 0] if model.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(theirs)
