"""Modular addition: every pair (a, b), the '=' sign, and the number (a + b) mod p to answer; or another operation, up
to the composition of permutations."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from dynamics.errors import UsageError
from dynamics.tasks import Subject, Task, TaskSettings

FIELDS = ("tokens", "answer", "train", "p")
# The operations of Power et al. 2022 on residues. Division is by the inverse modulo a prime; dividing by 0 gives 0
# here, so that every pair has an answer (the paper leaves those pairs out).
OPERATIONS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "a + b": lambda a, b, p: (a + b) % p,
    "a - b": lambda a, b, p: (a - b) % p,
    "a / b": lambda a, b, p: a * torch.tensor([pow(x, p - 2, p) for x in range(p)])[b] % p,
    "a^2 + ab + b^2": lambda a, b, p: (a * a + a * b + b * b) % p,
    "ab in S3": lambda a, b, _: compositions(3)[a, b],
    "ab in S4": lambda a, b, _: compositions(4)[a, b],
    "ab in S5": lambda a, b, _: compositions(5)[a, b],
}


class Settings(TaskSettings):
    """The modulus, and the split of 'Progress measures for grokking': `random.seed(split_seed)`, a shuffle of all
    pairs in a-major order, and the first `train_share` of them. By default the modulus is the vocabulary less '='.
    Measures of functions of a + b, such as `restricted_loss`, mean something for the operation "a + b" alone."""

    p: int | None = Field(default=None, ge=3)
    train_share: float = Field(default=0.3, gt=0, le=1)
    split_seed: int = 0
    split: Literal["shuffle"] = "shuffle"
    operation: Literal[
        "a + b", "a - b", "a / b", "a^2 + ab + b^2", "ab in S3", "ab in S4", "ab in S5"
    ] = "a + b"  # fmt: skip


def build(settings: Settings, subject: Subject) -> Task:
    """All p^2 pairs in a-major order; the answer is read at the last position."""
    p = settings.p or order_of(settings.operation) or subject.d_vocab - 1
    if order_of(settings.operation) not in (None, p):
        msg = f"{settings.operation!r} is about {order_of(settings.operation)} permutations, not p = {p}; leave 'p' out"
        raise UsageError(msg)
    if p + 1 > subject.d_vocab or subject.n_ctx < 3:
        msg = f"modular addition with p = {p} needs {p + 1} tokens and 3 positions; the model has {subject.d_vocab} " \
              f"and {subject.n_ctx}"  # fmt: skip
        raise UsageError(msg)
    if settings.operation == "a / b" and any(p % divisor == 0 for divisor in range(2, math.isqrt(p) + 1)):
        msg = f"division modulo p = {p}, which is no prime, has no answer for some pairs; choose a prime 'p'"
        raise UsageError(msg)
    number = torch.arange(p)
    a, b = number.repeat_interleave(p), number.repeat(p)
    fields = {
        "tokens": torch.stack([a, b, torch.full_like(a, p)], 1),
        "answer": OPERATIONS[settings.operation](a, b, p),
        "train": training_pairs(p, settings.train_share, settings.split_seed),
        "p": p,
    }
    shown = settings.model_dump() | {"p": p, "n_train": int(fields["train"].sum())}
    return Task(
        "modular_addition", fields, shown, settings.split_seed, exhaustive=True, read_positions=(2,)
    )


def order_of(operation: str) -> int | None:
    """How many things an operation is about, where it says so itself.

    >>> order_of("ab in S5"), order_of("a + b")
    (120, None)
    """
    return math.factorial(int(operation[-1])) if " in S" in operation else None


@cache
def compositions(n: int) -> Tensor:
    """The number of a b, b first, for all pairs of permutations of n letters, numbered in lexicographic order.

    >>> compositions(3)[1, 2].item(), compositions(3)[2, 1].item()
    (4, 3)
    """
    permutations = list(itertools.permutations(range(n)))
    number = {permutation: i for i, permutation in enumerate(permutations)}
    return torch.tensor([[number[tuple(a[i] for i in b)] for b in permutations] for a in permutations])


def training_pairs(p: int, share: float, seed: int) -> torch.Tensor:
    """Which of the pairs, in a-major order, are trained on. The paper's shuffle, reproduced exactly.

    >>> int(training_pairs(113, 0.3, 0).sum())
    3830
    """
    order = list(range(p * p))
    random.Random(seed).shuffle(order)  # the order in which the paper drew its split
    train = torch.zeros(p * p, dtype=torch.bool)
    train[order[: int(share * p * p)]] = True
    return train
