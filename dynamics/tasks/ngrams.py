"""N-grams: windows of a text, at whose positions it is known how the text itself goes on after the last few tokens.

What a model says with all of its context is compared with what the last one, two or three tokens alone would say: the
stages through which a language is learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field

from dynamics.errors import UsageError
from dynamics.tasks import SampledSettings, Subject, Task, text
from dynamics.tasks.documents import TextSettings

FIELDS = ("tokens", "ngram_successors", "ngram_shares", "unigrams", "unigram_shares")

POSITIONS = 8  # of each window
LONGEST = 3  # tokens of context: those of a 4-gram

Counted = tuple[np.ndarray, np.ndarray]  # tokens and their shares


class Settings(TextSettings, SampledSettings):
    """The text as for the task 'text', in windows of `length` tokens.

    An n-gram is read from the last n - 1 tokens where these occur at least `least` times in the text, and else from
    the longest shorter context that does; positions whose last token alone is rarer are not read.
    """

    n_examples: int = Field(default=128, ge=1)
    stderr_of: str = "ngram_kl"
    length: int | None = Field(default=None, ge=POSITIONS)
    least: int = Field(default=20, ge=1)
    seed: int = 0


def build(settings: Settings, subject: Subject) -> Task:
    """Counts over the whole text, never across documents; windows and places are drawn by the seed."""
    length = text.window_length(settings.length, subject, usual=64, what="n-gram")
    read, name = text.read_documents(settings, subject)
    documents = [np.asarray(ids, np.int64) for ids, _ in read]
    everything = np.concatenate(documents)
    if len(everything) and everything.max() >= subject.d_vocab:
        msg = f"the tokenizer gives token {everything.max()}, beyond the model's vocabulary of {subject.d_vocab}"
        raise UsageError(msg)
    counts = [_Counts(documents, size, subject.d_vocab) for size in range(1, LONGEST + 1)]
    places = np.linspace(length / POSITIONS, length, POSITIONS).round().astype(int)
    windows, rows = _windows(documents, length, places, counts, settings)
    if not windows:
        msg = f"{name} has no window of {length} tokens in which a token is followed by another {settings.least} " \
              "times in all; give a longer text, a smaller 'least' or a shorter 'length'"  # fmt: skip
        raise UsageError(msg)
    successors, shares = _padded(rows)
    unigrams, n = np.unique(everything, return_counts=True)
    start = 0 if subject.bos is None else subject.bos
    fields = {
        "tokens": torch.from_numpy(np.stack([np.concatenate([[start], window]) for window in windows])),
        "ngram_successors": torch.from_numpy(successors), "ngram_shares": torch.from_numpy(shares),
        "unigrams": tuple(unigrams.tolist()), "unigram_shares": tuple((n / n.sum()).tolist()),
    }  # fmt: skip
    used = [sum(k == size for row in rows for found in row for k, _ in found[-1:]) for size in range(1, LONGEST + 1)]
    shown = settings.model_dump(mode="json", exclude_none=True) | {
        "path": name, "length": length, "n_examples": len(windows), "start_token": start,
        "text_tokens": len(everything), "positions_by_tokens_of_context": used,
    }  # fmt: skip
    return Task("ngrams", fields, shown, settings.seed, read_positions=tuple(places.tolist()), batch_size=32)


class _Counts:
    """What follows each context of a number of tokens."""

    def __init__(self, documents: Sequence[np.ndarray], size: int, d_vocab: int) -> None:
        self.size, self.d_vocab = size, d_vocab
        contexts = np.concatenate([self._keys(ids)[:-1] for ids in documents if len(ids) > size])
        following = np.concatenate([ids[size:] for ids in documents if len(ids) > size])
        order = np.lexsort((following, contexts))
        self.contexts, self.following = contexts[order], following[order]

    def _keys(self, ids: np.ndarray) -> np.ndarray:
        """One number for each run of `size` tokens."""
        runs = np.lib.stride_tricks.sliding_window_view(ids, self.size)
        return runs @ (self.d_vocab ** np.arange(self.size, dtype=np.int64))

    def after(self, context: np.ndarray) -> Counted | None:
        """The tokens that follow a context and how often, or None where it does not occur."""
        key = int(self._keys(context[-self.size :])[0])
        begin, end = np.searchsorted(self.contexts, [key, key + 1])
        return np.unique(self.following[begin:end], return_counts=True) if end > begin else None


# For one position and each order from 2 up, how many tokens of context it is read from, and what follows them.
Found = list[tuple[int, Counted]]


def _windows(
    documents: Sequence[np.ndarray], length: int, places: np.ndarray, counts: Sequence[_Counts], settings: Settings
) -> tuple[list[np.ndarray], list[list[Found]]]:
    """Windows drawn without replacement, and for each of their places what follows; none without a single place."""
    cut = [ids[i : i + length] for ids in documents for i in range(0, len(ids) - length + 1, length)]
    windows: list[np.ndarray] = []
    rows: list[list[Found]] = []
    for i in np.random.default_rng(settings.seed).permutation(len(cut)):
        row = [_backing_off(cut[i][:place], counts, settings.least) for place in places]
        if any(row):
            windows.append(cut[i])
            rows.append(row)
        if len(windows) == settings.n_examples:
            break
    return windows, rows


def _backing_off(context: np.ndarray, counts: Sequence[_Counts], least: int) -> Found:
    """For each order the longest context that occurs often enough; nothing where the last token alone is too rare."""
    found: Found = []
    for count in counts:
        after = count.after(context) if len(context) >= count.size else None
        if after is not None and after[1].sum() >= least:
            found.append((count.size, after))
        elif found:
            found.append(found[-1])
        else:
            return []
    return found


def _padded(rows: list[list[Found]]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and shares, [window place order most]; padded with token 0 of share 0, as are places not read."""
    most = max(len(ids) for row in rows for found in row for _, (ids, _) in found)
    shape = (len(rows), POSITIONS, LONGEST, most)
    tokens, shares = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    for i, row in enumerate(rows):
        for j, found in enumerate(row):
            for k, (_, (ids, n)) in enumerate(found):
                tokens[i, j, k, : len(ids)], shares[i, j, k, : len(ids)] = ids, n / n.sum()
    return tokens, shares
