"""Attention's spread, distance, sinks and diagonal: by hand, against transformers' eager patterns, degenerate."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dynamics import forward
from metrics.attention import Attention, from_pattern
from metrics.attention_shape import (
    attention_distance,
    attention_entropy,
    attention_entropy_normalised,
    current_token_attention,
    first_token_attention,
    first_token_sink,
)
from tiny_models import CONFIGS, eager_outputs, random_tokens, tiny_model

ALL: list[Callable[[Attention], Tensor]] = [
    attention_entropy, attention_entropy_normalised, attention_distance, first_token_attention, first_token_sink,
    current_token_attention,
]  # fmt: skip
T = 64
HARMONIC = sum(1 / n for n in range(1, T + 1))


def uniform(length: int = T) -> Attention:
    pattern = torch.ones(length, length).tril()
    return from_pattern((pattern / pattern.sum(-1, keepdim=True))[None, None])


def uniform_by_scores(length: int = T) -> Attention:
    """The same through the log-sum-exp: equal scores."""
    zeros = torch.zeros(1, 1, length, 8)
    return Attention(zeros, zeros, torch.arange(1.0, length + 1).log()[None, None], 1.0)


@pytest.mark.parametrize("site", [uniform, uniform_by_scores])
def test_uniform_attention_is_the_chance_level(site: Callable[[], Attention]) -> None:
    by_hand = {
        attention_entropy: math.lgamma(T + 1) / (T - 1),  # ln(T!) over the queries but the first
        attention_entropy_normalised: 1.0,
        attention_distance: sum(q / 2 for q in range(1, T)) / (T - 1),  # T / 4
        first_token_attention: (HARMONIC - 1) / (T - 1),
        first_token_sink: 0.0,
        current_token_attention: (HARMONIC - 1) / (T - 1),
    }
    assert by_hand[attention_entropy] == pytest.approx(3.2566, abs=5e-5)
    assert by_hand[attention_distance] == T / 4
    assert pytest.approx(0.0741, abs=5e-5) == HARMONIC / T  # what the sink rate compares with 0.3
    for metric, expected in by_hand.items():
        assert float(metric(site())) == pytest.approx(expected, abs=1e-5), metric.__name__


@pytest.mark.parametrize(("key", "expected"), [(0, [0, 0, T / 2, 1, 1, 0]), (1, [0, 0, 0, 0, 0, 1])])
def test_a_head_that_looks_at_one_place(key: int, expected: list[float]) -> None:
    """At the first token (0), or at the present one (1)."""
    pattern = torch.eye(T) if key else torch.eye(T)[0].expand(T, -1)
    site = from_pattern(pattern[None, None])
    assert [float(metric(site)) for metric in ALL] == pytest.approx(expected)


def test_the_sink_threshold_is_on_the_first_64_queries() -> None:
    """Mean 0.31 over the first 64 is a sink, 0.29 is none, whatever later queries do."""
    pattern = torch.zeros(1, 2, 100, 100)
    pattern[:, 0, :64, 0], pattern[:, 0, 64:, 0] = 0.31, 0.0
    pattern[:, 1, :64, 0], pattern[:, 1, 64:, 0] = 0.29, 1.0
    assert first_token_sink(from_pattern(pattern)).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("family", CONFIGS)
@torch.inference_mode()
def test_equal_to_formulas_on_transformers_eager_patterns(family: str) -> None:
    tokens, ours = random_tokens(3, 20), []
    forward.run(tiny_model(family), tokens, lambda layer, site: ours.append([metric(site) for metric in ALL]))
    position = torch.arange(20.0)
    for scores, pattern in zip(ours, eager_outputs(tiny_model(family), tokens)[1].double(), strict=True):
        outcomes = torch.cat([pattern, (1 - pattern.sum(-1, keepdim=True)).clamp(min=0)], -1)  # the sink, where any
        entropy = torch.special.entr(outcomes).sum(-1)[..., 1:]
        weights = pattern / pattern.sum(-1, keepdim=True)
        expected = [
            entropy.mean(-1), (entropy / torch.arange(2, 21).log()).mean(-1),
            (weights * (position[:, None] - position)).sum(-1)[..., 1:].mean(-1),
            pattern[..., 1:, 0].mean(-1), (pattern[..., 0].mean(-1) > 0.3),
            pattern.diagonal(dim1=2, dim2=3)[..., 1:].mean(-1),
        ]  # fmt: skip
        for metric, mine, theirs in zip(ALL, scores, expected, strict=True):
            torch.testing.assert_close(mine.double(), theirs.double(), atol=1e-4, rtol=0, msg=metric.__name__)


def test_a_bias_by_distance_takes_the_spelt_out_way() -> None:
    """A finite bias, as ALiBi's, is part of the scores: -2 a step back here."""
    zeros = torch.zeros(1, 1, 5, 4)
    distance = torch.arange(5.0)[:, None] - torch.arange(5.0)
    bias = torch.where(distance >= 0, -2 * distance, float("-inf"))[None, None]
    site = Attention(zeros, zeros, bias.logsumexp(-1), 1.0, mask=bias)
    expected = bias.double().softmax(-1)
    torch.testing.assert_close(site.entropy.double(), torch.special.entr(expected).sum(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(site.distance.double(), (expected * distance.clamp(min=0)).sum(-1), atol=1e-5, rtol=0)


def test_a_single_token() -> None:
    for metric in ALL:
        value = metric(uniform(1))
        assert value.isnan().all() or metric is first_token_sink


def test_inputs_are_left_as_they_are() -> None:
    for site in (uniform(), uniform_by_scores()):
        before = (site.pattern().clone(), site.query.clone(), site.lse.clone())
        for metric in ALL:
            metric(site)
        assert all(torch.equal(a, b) for a, b in zip((site.pattern(), site.query, site.lse), before, strict=True))
