"""Bigrams: a start token and one token of a text, whose successors in that text are known.

What a model says after a single token is compared with how often each token follows it in the text, and how often it
occurs at all: the first two stages of learning a language.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from dynamics.errors import UsageError
from dynamics.tasks import SampledSettings, Subject, Task, text
from dynamics.tasks.documents import TextSettings

FIELDS = ("tokens", "successors", "successor_shares", "unigrams", "unigram_shares")


class Settings(TextSettings, SampledSettings):
    """The text as for the task 'text'. Contexts are drawn as often as they occur in the text, among
    tokens with at least `least` successors counted: shares of a few counts are noise."""

    n_examples: int = Field(default=512, ge=1)
    stderr_of: str = "bigram_kl"
    least: int = Field(default=20, ge=1)
    seed: int = 0


def build(settings: Settings, subject: Subject) -> Task:
    """Counts over the whole text, never across documents; the answer is read at the second position."""
    read, name = text.read_documents(settings, subject)
    documents = [np.asarray(ids) for ids, _ in read]
    first = np.concatenate([ids[:-1] for ids in documents])
    second = np.concatenate([ids[1:] for ids in documents])
    everything = np.concatenate(documents)
    if len(everything) and everything.max() >= subject.d_vocab:
        msg = f"the tokenizer gives token {everything.max()}, beyond the model's vocabulary of {subject.d_vocab}"
        raise UsageError(msg)
    count = np.bincount(first, minlength=subject.d_vocab)
    usable = first[count[first] >= settings.least]
    if not len(usable):
        msg = f"no token of {name} is followed by another {settings.least} times; " \
              "give a longer text or a smaller 'least'"  # fmt: skip
        raise UsageError(msg)
    contexts = np.random.default_rng(settings.seed).choice(usable, settings.n_examples)
    ids, shares = _successors(first, second, contexts)
    unigrams, n = np.unique(everything, return_counts=True)
    start = 0 if subject.bos is None else subject.bos
    fields = {
        "tokens": torch.from_numpy(np.stack([np.full_like(contexts, start), contexts], 1)),
        "successors": torch.from_numpy(ids), "successor_shares": torch.from_numpy(shares),
        "unigrams": tuple(unigrams.tolist()), "unigram_shares": tuple((n / n.sum()).tolist()),
    }  # fmt: skip
    shown = settings.model_dump(mode="json", exclude_none=True) | {
        "path": name, "start_token": start,
        "text_tokens": len(everything), "contexts_usable": len(np.unique(usable)),
    }  # fmt: skip
    return Task("bigrams", fields, shown, settings.seed, read_positions=(1,), batch_size=256)


def _successors(first: np.ndarray, second: np.ndarray, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that follow each context and their shares, [context most], padded with token 0 of share 0."""
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    found = {}
    for token in np.unique(contexts):
        begin, end = np.searchsorted(first, [token, token + 1])
        found[token] = np.unique(second[begin:end], return_counts=True)
    most = max(len(ids) for ids, _ in found.values())
    ids, shares = np.zeros((len(contexts), most), np.int64), np.zeros((len(contexts), most), np.float32)
    for row, token in enumerate(contexts):
        following, n = found[token]
        ids[row, : len(following)], shares[row, : len(following)] = following, n / n.sum()
    return ids, shares
