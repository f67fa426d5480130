"""Text: windows of a file, each after a start token, never packed across documents."""

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

FIELDS = ("tokens", "early_position", "late_position")

SAMPLE = Path(__file__).with_name("sample.txt")


class Settings(TaskSettings):
    """`path` is a UTF-8 file, by default the bundled sample; each file, or each line of it, is one document.

    `length` counts predicted tokens, the start token apart; by default 512 or what the context has room for.
    """

    path: Path | None = None
    documents: Literal["file", "lines"] = "file"
    n_examples: int = Field(default=64, ge=1)
    length: int | None = Field(default=None, ge=2)
    seed: int = 0


def build(settings: Settings, subject: Subject) -> Task:
    """Windows of equal length, drawn without replacement from the documents by the seed."""
    length = settings.length or min(512, subject.n_ctx - 1)
    if length + 1 > subject.n_ctx:
        msg = f"text windows of {length} tokens and a start token exceed the model's context of {subject.n_ctx}"
        raise UsageError(msg)
    windows, too_short = [], 0
    for document in _documents(settings, subject):
        count = len(document) // length
        too_short += not count
        windows += [document[i * length : (i + 1) * length] for i in range(count)]
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
    shown = settings.model_dump(mode="json") | {
        "path": settings.path.name if settings.path else SAMPLE.name,
        "length": length, "n_examples": len(tokens), "windows_available": len(windows),
        "documents_too_short": too_short, "start_token": int(start[0, 0]),
        "early_position": early, "late_position": late,
    }  # fmt: skip
    fields = {"tokens": torch.cat([start, tokens], 1), "early_position": early, "late_position": late}
    return Task("text", fields, shown, settings.seed)


def in_context_positions(length: int) -> tuple[int, int]:
    """The 50th and the 500th token, counted from 1, or the same places in proportion in a shorter window.

    >>> in_context_positions(512), in_context_positions(1023), in_context_positions(63)
    ((50, 500), (50, 500), (6, 62))
    """
    if length >= 512:
        return 50, 500
    return max(1, round(length * 50 / 512)), max(2, round(length * 500 / 512))


def _documents(settings: Settings, subject: Subject) -> Iterator[list[int]]:
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
    documents = text.splitlines() if settings.documents == "lines" else [text]
    for encoding in tokenizer.encode_batch(documents, add_special_tokens=False):
        yield encoding.ids
