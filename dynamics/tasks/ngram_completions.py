"""N-gram completions: the commonest n-grams of a text, each alone after a start token, beside windows of that text.

Is the last token of a common n-gram easier than the n-th token of any window?
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from dynamics.errors import UsageError
from dynamics.tasks import Subject, Task, text
from dynamics.tasks.documents import TextSettings

FIELDS = ("tokens", "ngram_order")

ORDERS = (2, 3, 4)


class Settings(TextSettings):
    """The text as for the task 'text'; the `most_common` n-grams of each order, and so many windows of the text."""

    most_common: int = Field(default=1000, ge=1)
    n_windows: int = Field(default=1000, ge=2)
    seed: int = 0


def build(settings: Settings, subject: Subject) -> Task:
    """N-grams are padded to one length; what comes after their last token is not read, and cannot be seen before."""
    read, name = text.read_documents(settings, subject)
    longest = max(ORDERS)
    documents = [np.asarray(ids, np.int64) for ids, _ in read if len(ids) >= longest]
    if not documents:
        msg = f"no document of {name} has {longest} tokens; give other text"
        raise UsageError(msg)
    starts = np.concatenate([np.lib.stride_tricks.sliding_window_view(ids, longest) for ids in documents])
    if starts.max() >= subject.d_vocab:
        msg = f"the tokenizer gives token {starts.max()}, beyond the model's vocabulary of {subject.d_vocab}"
        raise UsageError(msg)
    chosen = np.random.default_rng(settings.seed).permutation(len(starts))[: settings.n_windows]
    rows, orders = [starts[np.sort(chosen)]], [np.zeros(len(chosen), np.int64)]
    for n in ORDERS:
        runs = np.concatenate([np.lib.stride_tricks.sliding_window_view(ids, n) for ids in documents])
        kinds, count = np.unique(runs, axis=0, return_counts=True)
        common = kinds[np.argsort(-count, kind="stable")[: settings.most_common]]
        rows.append(np.pad(common, ((0, 0), (0, longest - n))))
        orders.append(np.full(len(common), n))
    tokens = np.concatenate(rows)
    start = 0 if subject.bos is None else subject.bos
    fields = {
        "tokens": torch.from_numpy(np.concatenate([np.full((len(tokens), 1), start), tokens], 1)),
        "ngram_order": torch.from_numpy(np.concatenate(orders)),
    }
    shown = settings.model_dump(mode="json", exclude_none=True) | {
        "path": name, "start_token": start, "n_windows": len(chosen),
        "ngrams": {str(n): int((fields["ngram_order"] == n).sum()) for n in ORDERS},
    }  # fmt: skip
    return Task("ngram_completions", fields, shown, settings.seed)
