"""Training on next-token prediction, over batches from an iterator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from dynamics.recipe import OptimizerSettings
from dynamics.sources.steps import log_spaced
from dynamics.training.loop import OnStep, Plan, Trainee, fit


def train(
    model: PreTrainedModel,
    batches: Iterator[Tensor],
    folder: Path,
    *,
    steps: int,
    n_checkpoints: int,
    learning_rate: float,
    tokenizer: Tokenizer | None = None,
    on_step: OnStep | None = None,
) -> Path:
    """Train on next-token prediction and save `folder/stepN` about `n_checkpoints` times, even on a log axis.

    Each batch is tokens [batch pos]; `batches` begins with the first step's, also when an interrupted training goes
    on. AdamW with betas .9 and .98, weight decay .01 and a short warm-up. Returns `folder`.
    """
    optimizer = OptimizerSettings(
        learning_rate=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, warm_up_steps=20, warm_up_from=0.1
    )
    conditions = {"steps": steps, "n_checkpoints": n_checkpoints, "optimizer": optimizer.model_dump(mode="json")}
    plan = Plan(steps, frozenset(log_spaced(range(steps + 1), n_checkpoints)), optimizer, conditions)
    return fit(Trainee(model, _NextToken(model, batches), tokenizer), folder, plan, on_step)


class _NextToken:
    """The loss of a step; batches of steps that an earlier process has done are passed over."""

    def __init__(self, model: PreTrainedModel, batches: Iterator[Tensor]) -> None:
        self.model, self.batches, self.drawn = model, batches, 0

    def __call__(self, step: int) -> Tensor:
        while self.drawn < step:
            next(self.batches)
            self.drawn += 1
        tokens = next(self.batches)
        self.drawn += 1
        logits = self.model(input_ids=tokens).logits
        return cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
