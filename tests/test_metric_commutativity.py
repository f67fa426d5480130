"""Test measures split by the mirrored pair: by hand, and on a table that knows symmetry alone."""

from __future__ import annotations

import math

import pytest
import torch

from metrics.commutativity import accuracy_by_symmetry, loss_by_symmetry
from test_metric_grokking import P, cosine_logits, pairs


def memorised(train: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """A network that knows the training pairs and their mirrors, and says 0 elsewhere."""
    known = train.reshape(P, P) | train.reshape(P, P).T
    logits = torch.nn.functional.one_hot(torch.where(known.flatten(), answer, 0), P + 1)
    return 50.0 * logits[:, None].double()


def test_symmetry_alone_is_told_from_generalising() -> None:
    given = pairs(0.5)
    right = accuracy_by_symmetry(memorised(**given), **given, p=P)
    clean = ~given["train"] & ~given["train"].reshape(P, P).T.flatten()
    assert right.tolist() == pytest.approx([1, float((given["answer"][clean] == 0).double().mean())])
    assert loss_by_symmetry(memorised(**given), **given, p=P)[0] < 1e-9
    assert accuracy_by_symmetry(cosine_logits(3), **given, p=P).tolist() == [1, 1]


def test_both_parts_make_the_published_test_loss() -> None:
    from metrics import grokking

    given = pairs(0.4)
    logits = torch.randn(P * P, 1, P + 1, generator=torch.Generator().manual_seed(0))
    mirrored = given["train"].reshape(P, P).T.flatten()
    shares = [float((part & ~given["train"]).sum() / (~given["train"]).sum()) for part in (mirrored, ~mirrored)]
    parts = loss_by_symmetry(logits, **given, p=P).tolist()
    assert sum(a * b for a, b in zip(shares, parts, strict=True)) == pytest.approx(
        float(grokking.test_loss(logits, **given, p=P))
    )


def test_a_constant_is_at_chance_in_both() -> None:
    given = pairs(0.5)
    assert loss_by_symmetry(torch.zeros(P * P, 1, P + 1), **given, p=P).tolist() == pytest.approx([math.log(P)] * 2)


def test_inputs_are_left_as_they_are() -> None:
    given, logits = pairs(0.5), cosine_logits(3)
    before = [logits.clone(), *(value.clone() for value in given.values())]
    loss_by_symmetry(logits, **given, p=P)
    accuracy_by_symmetry(logits, **given, p=P)
    assert all(torch.equal(one, two) for one, two in zip(before, [logits, *given.values()], strict=True))


def test_no_such_pair_gives_nan() -> None:
    none = pairs() | {"train": torch.zeros(P * P, dtype=torch.bool)}
    for measure in (loss_by_symmetry, accuracy_by_symmetry):
        found = measure(cosine_logits(3), **none, p=P)
        assert found.isnan().tolist() == [True, False]
