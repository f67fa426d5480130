"""Train a small model and keep its history: checkpoints at log-spaced steps, in Hugging Face format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from dynamics.sources.steps import log_spaced

OnStep = Callable[[int, int], None]


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

    Each batch is tokens [batch pos]. AdamW with betas .9 and .98, weight decay .01 and a short warm-up. Returns
    `folder`. Deterministic on one machine for the same model and batches.
    """
    keep = set(log_spaced(range(steps + 1), n_checkpoints))
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=20)
    model.train()
    for step in range(steps + 1):
        if step in keep:
            save(model, folder / f"step{step}", tokenizer)
        if step == steps:
            break
        tokens = next(batches)
        logits = model(input_ids=tokens).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        warm_up.step()
        if on_step is not None:
            on_step(step + 1, steps)
    return folder


def save(model: PreTrainedModel, folder: Path, tokenizer: Tokenizer | None) -> None:
    """Save one checkpoint; a folder that is there is complete, since it is renamed into place at the end."""
    partial = folder.with_name(f".{folder.name}.partial")
    model.config.save_pretrained(partial)
    weights = {name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    if tokenizer is not None:
        tokenizer.save(str(partial / "tokenizer.json"))
    partial.rename(folder)
