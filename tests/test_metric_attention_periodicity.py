"""How much of a head's score over numbers one frequency explains: by hand, by a fit, and for noise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from metrics.attention_periodicity import attention_periodicity

P = 31
NUMBER = torch.arange(P, dtype=torch.float64)


def sites(score: Tensor) -> dict[str, Tensor | int]:
    """A head whose score of number x is score[x], read through a residual stream of two: the score, and a one."""
    ones = torch.ones(P)
    embedding = torch.cat([torch.stack([score, 0 * ones], 1), torch.tensor([[0.0, 1.0]])]).double()
    query, key = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [0.0]])
    return {"W_E": embedding, "W_pos": torch.full((3, 2), 0.5, dtype=torch.float64),
            "W_Q": query[None, None].double(), "W_K": key[None, None].double(), "p": P}  # fmt: skip


def wave(k: int) -> Tensor:
    return torch.cos(2 * math.pi * k * NUMBER / P + 0.3)


@pytest.mark.parametrize(
    ("score", "share"),
    [(wave(4), 1.0), (3 * wave(2) + 7, 1.0), (3 * wave(2) + 4 * wave(5), 16 / 25), (wave(1) + wave(2), 0.5)],
)
def test_the_largest_frequency_counts(score: Tensor, share: float) -> None:
    assert attention_periodicity(**sites(score)).tolist() == pytest.approx([share])


def test_it_agrees_with_a_fit_of_every_frequency() -> None:
    score = torch.randn(P, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    centred, shares = score - score.mean(), []
    for k in range(1, 16):
        angle = 2 * math.pi * k * NUMBER / P
        design = torch.stack([angle.cos(), angle.sin()], 1)
        residual = centred - design @ torch.linalg.lstsq(design, centred[:, None]).solution.flatten()
        shares.append(1 - float(residual.square().sum() / centred.square().sum()))
    assert attention_periodicity(**sites(score)).tolist() == pytest.approx([max(shares)])
    assert max(shares) < 0.4  # noise


def test_noise_has_the_share_that_chance_gives_the_largest_of_its_frequencies() -> None:
    """The largest of n shares of independent exponential numbers is H_n / n on average: about 2 ln(p) / p."""
    noise, n = torch.Generator().manual_seed(0), (P - 1) // 2
    shares = [float(attention_periodicity(**sites(torch.randn(P, generator=noise)))) for _ in range(300)]
    assert sum(shares) / 300 == pytest.approx(sum(1 / k for k in range(1, n + 1)) / n, rel=0.05)
    assert sum(shares) / 300 == pytest.approx(2 * math.log(P) / P, rel=0.05)


def test_inputs_are_left_as_they_are() -> None:
    given = sites(wave(4))
    before = {name: value.clone() for name, value in given.items() if isinstance(value, Tensor)}
    attention_periodicity(**given)
    assert all(torch.equal(before[name], given[name]) for name in before)


def test_a_score_that_does_not_depend_on_the_number_gives_nan() -> None:
    assert attention_periodicity(**sites(torch.full((P,), 2.0))).isnan().all()
    assert attention_periodicity(**sites(torch.zeros(P))).isnan().all()
