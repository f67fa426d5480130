"""The weights' size, their way from the first checkpoint and to the last, and their sparsity."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from metrics.weight_norm import (
    cosine_to_final,
    distance_from_first,
    distance_to_final,
    hoyer_sparsity,
    sum_of_squared_weights,
    weight_norm,
)
from tiny_models import tiny_model


def weights() -> dict[str, Tensor]:
    return dict(tiny_model("gpt_neox").named_parameters())


def test_equals_torchs_own_norm() -> None:
    flat = torch.nn.utils.parameters_to_vector(list(weights().values())).double()
    torch.testing.assert_close(sum_of_squared_weights(weights()), flat.norm().square())
    squares = torch.stack(list(weight_norm(weights()).values())).square().sum()
    torch.testing.assert_close(squares, flat.norm().square())


def test_tied_embeddings_count_once() -> None:
    tied = dict(tiny_model("gpt2").named_parameters())
    assert "lm_head.weight" not in tied
    twice = tied | {"lm_head.weight": tied["transformer.wte.weight"]}
    assert float(sum_of_squared_weights(twice)) > float(sum_of_squared_weights(tied))


def test_a_checkpoint_is_no_distance_from_itself() -> None:
    matrices = {name: tensor for name, tensor in weights().items() if tensor.any()}
    for distance in (distance_from_first, distance_to_final):
        assert not any(distance(matrices, matrices).values())
    for cosine in cosine_to_final(matrices, matrices).values():
        assert float(cosine) == pytest.approx(1)


def test_twice_the_weights_are_one_norm_away_in_the_same_direction() -> None:
    here = {"W": torch.randn(5, 3, generator=torch.Generator().manual_seed(0))}
    twice = {"W": 2 * here["W"]}
    assert float(distance_from_first(twice, here)["W"]) == pytest.approx(1)
    assert float(distance_to_final(here, twice)["W"]) == pytest.approx(0.5)
    assert float(cosine_to_final(here, twice)["W"]) == pytest.approx(1)
    assert float(cosine_to_final({"W": -here["W"]}, twice)["W"]) == pytest.approx(-1)


def test_unrelated_weights_are_at_right_angles() -> None:
    """Two random matrices of one norm: cosine 0 within 1/sqrt(n), distance sqrt 2."""
    generator = torch.Generator().manual_seed(0)
    one, other = ({"W": torch.randn(100, 100, generator=generator)} for _ in range(2))
    assert abs(float(cosine_to_final(one, other)["W"])) < 0.04
    assert float(distance_to_final(one, other)["W"]) == pytest.approx(math.sqrt(2), rel=0.03)


def test_hoyer_by_hand_and_of_a_normal_distribution() -> None:
    """m of n entries alike: (sqrt n - sqrt m) / (sqrt n - 1)."""
    assert float(hoyer_sparsity({"W": torch.tensor([1.0, -1.0, 0, 0, 0, 0, 0, 0, 0])})["W"]) == pytest.approx(
        (3 - math.sqrt(2)) / 2
    )
    assert float(hoyer_sparsity({"W": torch.full((4, 4), -2.0)})["W"]) == pytest.approx(0)
    normal = torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    assert float(hoyer_sparsity({"W": normal})["W"]) == pytest.approx(1 - math.sqrt(2 / math.pi), abs=0.01)


def test_zero_and_nan() -> None:
    zero, broken = {"W": torch.zeros(3)}, {"W": torch.tensor([1.0, float("nan"), 0.0])}
    assert float(sum_of_squared_weights(zero)) == float(weight_norm(zero)["W"]) == 0
    assert sum_of_squared_weights(broken).isnan()
    assert weight_norm(broken)["W"].isnan()
    assert hoyer_sparsity(zero)["W"].isnan()
    assert hoyer_sparsity({"W": torch.ones(1)})["W"].isnan()
    assert cosine_to_final(zero, zero)["W"].isnan()
    for distance in (distance_from_first, distance_to_final):
        assert distance({"W": torch.ones(3)}, zero)["W"].isnan()


def test_inputs_are_left_as_they_are() -> None:
    before = {name: tensor.clone() for name, tensor in weights().items()}
    for metric in (sum_of_squared_weights, weight_norm, hoyer_sparsity):
        metric(weights())
    for metric in (distance_from_first, distance_to_final, cosine_to_final):
        metric(weights(), weights())
    assert all(torch.equal(weights()[name], before[name]) for name in before)
