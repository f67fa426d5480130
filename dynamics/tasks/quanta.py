"""Quanta: tokens of a text that the trained model predicts well, grouped by how it does so (Michaud et al. 2023).

Two tokens are of one quantum where the gradients of their losses at the last checkpoint point the same way. The groups
are found there once, and every checkpoint is measured on them.
"""

from __future__ import annotations

from collections import Counter

import torch
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from dynamics.clustering import angular_affinity, spectral_clusters
from dynamics.errors import UsageError
from dynamics.sites.gradients import token_gradients
from dynamics.tasks import Subject, Task, documents, text

FIELDS = ("tokens", "quantum", "names")
FROM_LAST = True  # it is made with the weights of the last checkpoint

CONTEXT = 8  # tokens shown before the one that is predicted
TARGETS = 3  # tokens in a quantum's name
BATCH = 16


class Settings(documents.TextSettings):
    """The text as for the task 'text', cut into `n_windows` windows. Of its tokens with a loss below `loss_below` at
    the last checkpoint, those left out that complete a trigram seen before in their window (induction would predict
    them), `n_tokens` at equal distances are grouped into `n_quanta`. `width` is that of the gradients' projection. The
    paper has 10,000 tokens below 0.1 nats, 400 groups, and no projection."""

    n_windows: int = Field(default=256, ge=1)
    length: int | None = Field(default=None, ge=3)
    n_tokens: int = Field(default=1000, ge=2)
    loss_below: float = Field(default=0.1, gt=0)
    n_quanta: int = Field(default=20, ge=1)
    width: int = Field(default=4096, ge=1)
    seed: int = 0


def build(settings: Settings, subject: Subject) -> Task:
    """The windows, and the quantum of each of their tokens: -1 for those that are in none."""
    if subject.module is None or subject.tokenizer is None:
        msg = "quanta are found in a trained model's gradients on text: the last checkpoint and a tokenizer are needed"
        raise UsageError(msg)
    shared = settings.model_dump(include={*documents.TextSettings.model_fields, "length", "seed"})
    windows = text.build(text.Settings(n_examples=settings.n_windows, **shared), subject)
    tokens = windows.tokens
    candidates = (_losses(subject.module, tokens) < settings.loss_below) & ~completes_a_trigram(tokens)
    chosen = evenly(candidates, settings.n_tokens)
    if int(chosen.sum()) < 2:
        msg = (
            f"{int(candidates.sum())} of {candidates.numel()} tokens have a loss below {settings.loss_below} nats "
            "and are not repetitions; give more windows, or a larger 'loss_below'"
        )
        raise UsageError(msg)
    gradients = token_gradients(subject.module, tokens, chosen, width=settings.width, seed=settings.seed)
    group = spectral_clusters(angular_affinity(gradients.numpy()), settings.n_quanta, seed=settings.seed)
    quantum = torch.full(chosen.shape, -1)
    quantum[chosen] = torch.from_numpy(group)
    names, listed = _described(tokens, quantum, Tokenizer.from_file(str(subject.tokenizer)))
    shown = {**settings.model_dump(mode="json", exclude_none=True), "path": windows.settings["path"],
             "candidates": int(candidates.sum()), "chosen": int(chosen.sum()), "tokens": listed}  # fmt: skip
    fields = {"tokens": tokens, "quantum": quantum, "names": names}
    return Task("quanta", fields, shown, settings.seed)


def completes_a_trigram(tokens: Tensor) -> Tensor:
    """Whether a token and the two before it have stood in the window before, [batch pos-1], placed as losses are.

    >>> completes_a_trigram(torch.tensor([[0, 1, 2, 3, 1, 2, 3]])).int().tolist()
    [[0, 0, 0, 0, 0, 1]]
    """
    found = torch.zeros(len(tokens), tokens.shape[1] - 1, dtype=torch.bool)
    for row, window in enumerate(tokens.tolist()):
        seen: set[tuple[int, ...]] = set()
        for end in range(2, len(window)):
            trigram = tuple(window[end - 2 : end + 1])
            found[row, end - 1] = trigram in seen
            seen.add(trigram)
    return found


def evenly(candidates: Tensor, n: int) -> Tensor:
    """At most `n` of the candidates, at equal distances among them.

    >>> evenly(torch.tensor([[True, True, False], [True, True, True]]), 2).int().tolist()
    [[1, 0, 0], [0, 1, 0]]
    """
    places = candidates.flatten().nonzero().flatten()
    every = -(-len(places) // n) or 1
    chosen = torch.zeros(candidates.numel(), dtype=torch.bool)
    chosen[places[::every]] = True
    return chosen.view_as(candidates)


@torch.inference_mode()
def _losses(module: PreTrainedModel, tokens: Tensor) -> Tensor:
    """[batch pos-1]"""
    parts = []
    for some in tokens.split(BATCH):
        logits = module(input_ids=some.to(module.device)).logits[:, :-1].float()
        parts.append(cross_entropy(logits.flatten(0, 1).cpu(), some[:, 1:].flatten(), reduction="none"))
    return torch.cat(parts).view(len(tokens), -1)


def _described(
    tokens: Tensor, quantum: Tensor, tokenizer: Tokenizer
) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    """A name for each quantum, its number and commonest tokens; and of each token what comes before it."""
    places = (quantum >= 0).nonzero().tolist()
    group = [int(quantum[row, place]) for row, place in places]
    said = [_said(tokenizer, [int(tokens[row, place + 1])]) for row, place in places]
    names = []
    for number in range(max(group) + 1):
        common = Counter(word for word, own in zip(said, group, strict=True) if own == number).most_common(TARGETS)
        width = len(str(max(group) + 1))
        names.append(f"{number + 1:0{width}d}: {' '.join(f'‘{word}’' for word, _ in common)}")
    before = [tokens[row, max(1, place + 1 - CONTEXT) : place + 1].tolist() for row, place in places]
    contexts = [_said(tokenizer, ids) for ids in before]
    listed = [{"quantum": names[own], "context": context, "token": word}
              for own, context, word in zip(group, contexts, said, strict=True)]  # fmt: skip
    return tuple(names), listed


def _said(tokenizer: Tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False).replace("\n", "⏎")
