"""The tuned lens (Belrose et al. 2023): for each layer an affine map from its residual stream to the last one's.

It is trained anew for each checkpoint: one that was trained for another measures how well it carries over, not what
the layer holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dynamics.sites.unembed import logits

CHECKED = 1024  # rows on which a translator has to be no worse than none


@dataclass(frozen=True)
class Training:
    """How to train: Adam, whose learning rate falls to 0 in a straight line, on so many rows at a time."""

    steps: int
    learning_rate: float
    rows: int
    seed: int


@dataclass(frozen=True)
class Translators:
    """Of each layer a matrix [d_model d_model] and a bias [d_model]; None where the stream is read as it is."""

    maps: Sequence[tuple[Tensor, Tensor] | None]

    def translate(self, layer: int, residual: Tensor) -> Tensor:
        """residual + residual A^T + b."""
        found = self.maps[layer]
        return residual if found is None else residual + nn.functional.linear(residual, *found)


def fit(
    module: PreTrainedModel, norm: nn.Module, by_layer: Sequence[Tensor], final: Tensor, how: Training
) -> Translators:
    """Translators for all layers but the last, from rows [n d_model] of the residual stream.

    They minimise KL(output || lens), start at A = 0 and b = 0, which is the logit lens, and are left there when they
    have not become better than it on the rows that they were trained on. `final` is what the unembedding reads.
    """
    random = torch.Generator().manual_seed(how.seed)
    width = final.shape[1]
    maps = [(final.new_zeros(width, width, requires_grad=True), final.new_zeros(width, requires_grad=True))
            for _ in by_layer[:-1]]  # fmt: skip
    if not maps:
        return Translators([None])
    translators = Translators([*maps, None])
    optimizer = torch.optim.Adam([weight for pair in maps for weight in pair], lr=how.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / how.steps)
    for _ in range(how.steps):
        rows = torch.randint(len(final), (min(how.rows, len(final)),), generator=random).to(final.device)
        target = _target(module, final[rows])
        for layer in range(len(maps)):  # one after the other, so that the logits of one layer are held at a time
            with torch.enable_grad():
                translated = norm(translators.translate(layer, by_layer[layer][rows]))
                _divergence(module, translated, target).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return _no_worse(module, norm, by_layer, final, translators)


@torch.no_grad()
def _no_worse(
    module: PreTrainedModel, norm: nn.Module, by_layer: Sequence[Tensor], final: Tensor, translators: Translators
) -> Translators:
    target = _target(module, final[:CHECKED])
    kept = []
    for layer, found in enumerate(translators.maps):
        rows = by_layer[layer][:CHECKED]
        plain = _divergence(module, norm(rows), target)
        tuned = _divergence(module, norm(translators.translate(layer, rows)), target)
        kept.append(None if found is None or not tuned < plain else (found[0].detach(), found[1].detach()))
    return Translators(kept)


@torch.no_grad()
def _target(module: PreTrainedModel, final: Tensor) -> Tensor:
    return logits(module, final).float().log_softmax(-1)


def _divergence(module: PreTrainedModel, normalised: Tensor, target: Tensor) -> Tensor:
    """mean over rows of KL(output || lens)."""
    said = logits(module, normalised).float().log_softmax(-1)
    return nn.functional.kl_div(said, target, log_target=True, reduction="batchmean")
