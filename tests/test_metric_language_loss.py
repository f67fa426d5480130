"""`loss`, `loss_by_position` and `in_context_learning_score`."""

from __future__ import annotations

import math

import torch

from metrics.in_context import in_context_learning_score, loss_by_position
from metrics.language_loss import loss


def test_a_loss_that_falls_with_the_logarithm_of_position() -> None:
    """l[i] = a - b ln i gives -b ln 10 between the 50th and the 500th token, whatever a is."""
    a, b = 7.0, 0.25
    position = torch.arange(1, 513)
    losses = (a - b * position.log()).expand(3, -1)
    scores = in_context_learning_score(lambda chosen: losses[:, torch.as_tensor(chosen) - 1], 50, 500)
    torch.testing.assert_close(scores, torch.full((3,), -b * math.log(10)))


def test_a_model_that_ignores_its_context_has_no_score() -> None:
    assert in_context_learning_score(lambda chosen: torch.full((4, len(chosen)), 3.0), 50, 500).tolist() == [0.0] * 4


def test_loss_is_the_mean_of_the_loss_by_position() -> None:
    losses = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    before = losses.clone()
    torch.testing.assert_close(loss(losses), loss_by_position(losses).mean(-1))
    assert torch.equal(losses, before)


def test_a_loss_that_is_no_number_stays_none() -> None:
    losses = torch.tensor([[1.0, float("nan")], [1.0, 1.0]])
    assert loss(losses).isnan().tolist() == [True, False]
    assert loss_by_position(losses).isnan().tolist() == [[False, True], [False, False]]
