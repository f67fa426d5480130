"""Random tokens, repeated: a start token and a block of distinct random tokens over and over.

The block's length varies from sequence to sequence. With one length for all, attention to a fixed offset would pass
for induction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field

from dynamics.errors import UsageError
from dynamics.tasks import SampledSettings, Subject, Task

FIELDS = ("tokens", "period")


class Settings(SampledSettings):
    """Block lengths are drawn evenly from `shortest` to `longest`; the sequence has room for `repeats` of the mean.

    The most and least common tokens are left out: `excluded_share` of the ids at either end of the vocabulary, whose
    order in a byte-pair tokenizer follows frequency.
    """

    stderr_of: str = "prefix_matching"
    shortest: int | None = Field(default=None, ge=2)
    longest: int | None = Field(default=None, ge=2)
    repeats: int = Field(default=4, ge=2)
    excluded_share: float = Field(default=0.04, ge=0, lt=0.5)
    seed: int = 0


def build(settings: Settings, subject: Subject) -> Task:
    """The paper's 25 tokens x 4 where the context has room, with block lengths 17 to 33; shorter in short contexts."""
    middle = min(25, (subject.n_ctx - 1) // settings.repeats)
    shortest = settings.shortest or max(2, round(middle * 2 / 3))
    longest = settings.longest or max(shortest, round(middle * 4 / 3))
    length = min(subject.n_ctx, 1 + settings.repeats * round((shortest + longest) / 2))
    margin = int(settings.excluded_share * subject.d_vocab)
    ids = np.setdiff1d(np.arange(margin, subject.d_vocab - margin), [_start(subject)])
    if longest + 1 >= length or shortest > longest or longest > len(ids):
        msg = (
            f"blocks of {shortest} to {longest} distinct tokens do not repeat within {length} positions with "
            f"{len(ids)} usable tokens; set shorter blocks"
        )
        raise UsageError(msg)
    random = np.random.default_rng(settings.seed)
    period = random.integers(shortest, longest + 1, settings.n_examples)
    tokens = np.full((settings.n_examples, length), _start(subject))
    for row, block_length in zip(tokens, period, strict=True):
        row[1:] = np.resize(random.choice(ids, block_length, replace=False), length - 1)
    shown: dict[str, Any] = settings.model_dump(exclude_none=True) | {
        "shortest": shortest, "longest": longest, "length": length, "start_token": _start(subject),
    }  # fmt: skip
    fields = {"tokens": torch.from_numpy(tokens), "period": torch.from_numpy(period)}
    return Task("repeated_tokens", fields, shown, settings.seed)


def _start(subject: Subject) -> int:
    """The start token; heads that rest on it would otherwise rest on the first random token."""
    return 0 if subject.bos is None else subject.bos
