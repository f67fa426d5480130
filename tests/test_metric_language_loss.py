"""Loss on text and what is made of it: by position, in context, per byte, as perplexity and accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from dynamics.forward import run
from dynamics.sites.unembed import predictions
from metrics.in_context import (
    in_context_learning_score,
    in_context_learning_score_windowed,
    loss_by_position,
    per_token_loss,
)
from metrics.language_loss import accuracy, bits_per_byte, loss, perplexity
from metrics.repeated_loss import first_occurrence_loss, repeated_loss
from tiny_models import eager_outputs, random_tokens, tiny_model


def test_a_loss_that_falls_with_the_logarithm_of_position() -> None:
    """l[i] = a - b ln i gives -b ln 10 between the 50th and the 500th token, whatever a is."""
    a, b = 7.0, 0.25
    position = torch.arange(1, 513)
    losses = (a - b * position.log()).expand(3, -1)
    scores = in_context_learning_score(reader(losses), 50, 500)
    torch.testing.assert_close(scores, torch.full((3,), -b * math.log(10)))


def reader(losses: torch.Tensor) -> Callable[[Sequence[int]], torch.Tensor]:
    """The losses as the site `loss_at` gives them."""
    return lambda chosen: losses[:, torch.as_tensor(chosen) - 1]


def test_a_model_that_ignores_its_context_has_no_score() -> None:
    assert in_context_learning_score(lambda chosen: torch.full((4, len(chosen)), 3.0), 50, 500).tolist() == [0.0] * 4


def test_loss_is_the_mean_of_the_loss_by_position() -> None:
    losses = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    before = losses.clone()
    everything = loss(reader(losses), tuple(range(1, 8)))
    torch.testing.assert_close(everything, loss_by_position(losses).mean(-1))
    assert torch.equal(losses, before)


def test_with_sampled_positions_the_loss_is_their_mean_and_nothing_else_is_read() -> None:
    losses = torch.tensor([[9.0, 1.0, 9.0, 3.0]])
    assert loss(reader(losses), (2, 4)).tolist() == [2.0]


def test_a_loss_that_is_no_number_stays_none() -> None:
    losses = torch.tensor([[1.0, float("nan")], [1.0, 1.0]])
    assert loss(reader(losses), (1, 2)).isnan().tolist() == [True, False]
    assert loss_by_position(losses).isnan().tolist() == [[False, True], [False, False]]
    assert perplexity(losses).isnan()
    assert bits_per_byte(losses, torch.tensor([1, 1])).isnan()


def test_the_windowed_score_is_the_difference_of_means() -> None:
    """A loss of -position: the windows' mean positions are 50 and 480.5."""
    losses = -torch.arange(1.0, 513).expand(2, -1)
    windows = {"early_window": (40, 60), "late_window": (450, 511)}
    scores = in_context_learning_score_windowed(reader(losses), **windows)
    assert scores.tolist() == pytest.approx([50 - 480.5] * 2)
    flat = in_context_learning_score_windowed(lambda chosen: torch.full((4, len(chosen)), 3.0), **windows)
    assert flat.tolist() == [0.0] * 4


def test_chance_is_the_vocabulary() -> None:
    """Every one of 256 bytes alike: perplexity 256, 8 bits a byte."""
    losses = torch.full((3, 10), math.log(256))
    assert float(perplexity(losses)) == pytest.approx(256)
    assert float(bits_per_byte(losses, torch.full((3,), 10))) == pytest.approx(8)


def test_perplexity_and_bits_are_of_the_sums() -> None:
    """1 and 3 bits over windows of 1 and 7 bytes: 4 / 8, not the mean of 1 and 3 / 7."""
    losses, n_bytes = torch.tensor([[2.0], [8.0]]).log(), torch.tensor([1, 7])
    assert float(perplexity(losses)) == pytest.approx(4)
    assert float(bits_per_byte(losses, n_bytes)) == pytest.approx(4 / 8)


@pytest.mark.parametrize("family", ["gpt_neox", "gemma2"])
@torch.inference_mode()
def test_accuracy_equals_that_of_transformers_logits(family: str) -> None:
    tokens = random_tokens(4, 20)
    logits, _ = eager_outputs(tiny_model(family), tokens)
    best = logits[:, :-1].argmax(-1)
    answered = torch.cat([tokens[:, :1], torch.where(torch.arange(19) % 3 == 0, best, tokens[:, 1:])], 1)
    hidden = run(tiny_model(family), tokens, None)
    assert hidden is not None
    _, correct = predictions(tiny_model(family), hidden[:, :-1], answered[:, 1:])
    expected = (best == answered[:, 1:]).float()
    assert 0.3 < float(expected.mean()) < 0.7
    torch.testing.assert_close(accuracy(correct), expected.mean(-1))


def test_losses_before_and_after_a_sequence_repeats() -> None:
    """Blocks of 3 and 4 in eight tokens: 5 nats in the first copy, 9 where the second begins, 1 after."""
    losses = torch.tensor([[5.0] * 3 + [9.0] + [1.0] * 4, [5.0] * 4 + [9.0] + [1.0] * 3])
    period, before = torch.tensor([3, 4]), losses.clone()
    assert first_occurrence_loss(losses, period).tolist() == [5.0, 5.0]
    assert repeated_loss(losses, period).tolist() == [1.0, 1.0]
    assert torch.equal(losses, before)


def test_random_tokens_that_nothing_copies_cost_the_same_throughout() -> None:
    losses = torch.full((2, 8), 4.0)
    period = torch.tensor([3, 4])
    assert torch.equal(first_occurrence_loss(losses, period), repeated_loss(losses, period))


def test_a_block_that_does_not_repeat_has_no_repeated_loss() -> None:
    assert repeated_loss(torch.ones(1, 4), torch.tensor([5])).isnan().all()


def test_single_tokens_are_sixteen_even_places_of_each_window() -> None:
    losses = torch.rand(3, 100, generator=torch.Generator().manual_seed(0))
    before = losses.clone()
    chosen = per_token_loss(losses).view(3, 16)
    places = np.linspace(0, 99, 16).round().astype(int)
    np.testing.assert_array_equal(chosen.numpy(), losses.numpy()[:, places])
    assert torch.equal(losses, before)
    assert per_token_loss(losses[:, :5]).tolist() == losses[:, :5].flatten().tolist()
    assert per_token_loss(torch.full((1, 4), float("nan"))).isnan().all()
