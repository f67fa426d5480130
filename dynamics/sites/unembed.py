"""From the last residual stream to logits and losses, a few rows at a time, without a tensor of [batch pos d_vocab]."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dynamics.model import unembedding

# Rows unembedded at once: 512 x 50k float32 logits are 100 MB; fewer rows would starve the matrix product.
LOSS_ROWS = 512


def losses_at(
    module: PreTrainedModel, tokens: Tensor, hidden: Tensor, known: Tensor | None
) -> Callable[[Sequence[int]], Tensor]:
    """The loss of predicting the tokens at chosen positions, counted with the start token at 0."""

    def loss_at(positions: Sequence[int]) -> Tensor:
        chosen = torch.as_tensor(positions, device=hidden.device)
        if known is not None:
            return known[:, chosen - 1]
        return predictions(module, hidden[:, chosen - 1], tokens[:, chosen])[0]

    return loss_at


def predictions(module: PreTrainedModel, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy, and whether the target is the likeliest token: both [batch pos] in float32, by a few rows."""
    rows, wanted = hidden.flatten(0, 1), targets.flatten()
    head, buffer = unembedding(module), None
    if type(head) is nn.Linear and head.bias is None:
        # One buffer for every chunk: fresh memory of this size costs a fifth of the matrix product's time.
        buffer = rows.new_empty(min(LOSS_ROWS, len(rows)), head.out_features)
    parts = []
    for start in range(0, len(rows), LOSS_ROWS):
        chunk = rows[start : start + LOSS_ROWS]
        parts.append(_score(logits(module, chunk, buffer), wanted[start : start + LOSS_ROWS]))
    losses, correct = (torch.cat(part).unflatten(0, targets.shape) for part in zip(*parts, strict=True))
    return losses, correct


def _score(rows: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """ln sum exp of each row less its wanted entry, and whether that entry is the largest; the rows are overwritten."""
    rows = rows.float()
    chosen = rows.gather(1, wanted[:, None]).squeeze(1)
    highest = rows.amax(-1, keepdim=True)
    correct = (chosen == highest.squeeze(1)).float()
    return rows.sub_(highest).exp_().sum(-1).log() + highest.squeeze(1) - chosen, correct


def logits(module: PreTrainedModel, hidden: Tensor, buffer: Tensor | None = None) -> Tensor:
    """Unembed, with the soft cap of the architectures that have one; into a buffer where one is given."""
    head = unembedding(module)
    if buffer is not None and isinstance(head, nn.Linear):
        raw = torch.mm(hidden, head.weight.T, out=buffer[: len(hidden)])
    else:
        raw = head(hidden)
    cap = getattr(module.config, "final_logit_softcapping", None)
    return raw if cap is None else cap * torch.tanh(raw / cap)
