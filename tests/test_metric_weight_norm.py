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
    gini_sparsity,
    hoyer_sparsity,
    module_norm,
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


def sorted_gini(tensor: Tensor) -> float:
    """The definition, by sorting."""
    entries = tensor.double().abs().flatten().sort().values
    rank = torch.arange(1, len(entries) + 1)
    return float(((2 * rank - len(entries) - 1) * entries).sum() / (len(entries) * entries.sum()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_gini_is_that_of_the_sorted_entries(dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    wide = torch.randn(500, 301, generator=draw) * torch.rand(500, 301, generator=draw).exp().pow(4)
    for tensor in (wide.to(dtype), torch.tensor([0.0, 0, -3, 1, 1]).to(dtype)):
        assert float(gini_sparsity({"W": tensor})["W"]) == pytest.approx(sorted_gini(tensor), abs=1e-5)


def test_gini_by_hand_and_of_known_distributions() -> None:
    """m of n entries alike: 1 - m / n; sqrt(2) - 1 for a normal distribution, 1/3 for an even one."""
    assert float(gini_sparsity({"W": torch.tensor([2.0, -2, 0, 0, 0])})["W"]) == pytest.approx(1 - 2 / 5)
    assert float(gini_sparsity({"W": torch.full((4, 4), -2.0)})["W"]) == pytest.approx(0, abs=1e-9)
    normal = torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    assert float(gini_sparsity({"W": normal})["W"]) == pytest.approx(math.sqrt(2) - 1, abs=0.003)
    assert float(gini_sparsity({"W": torch.linspace(-1, 1, 90_001)})["W"]) == pytest.approx(1 / 3, abs=1e-4)


def test_modules_are_the_roots_of_their_parameters_squares() -> None:
    names = [name for name in weights() if name.startswith("gpt_neox.layers.1.mlp.")]
    expected = torch.cat([weights()[name].double().flatten() for name in names]).norm()
    torch.testing.assert_close(module_norm(weights())["gpt_neox.layers.1.mlp"], expected, rtol=1e-6, atol=0)
    squares = torch.stack(list(module_norm(weights()).values())).square().sum()
    torch.testing.assert_close(squares, sum_of_squared_weights(weights()))


def test_half_precision_is_summed_in_float32() -> None:
    """Squares of half precision overflow beyond 255, and a sum of ones stops growing at 2048."""
    large, many = torch.full((4,), 1000.0).half(), torch.ones(100_000).half()
    assert float(weight_norm({"W": large})["W"]) == 2000
    assert float(sum_of_squared_weights({"W": many})) == pytest.approx(100_000)
    assert float(distance_from_first({"W": -large}, {"W": large})["W"]) == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_counted_to_the_last_digits(dtype: torch.dtype) -> None:
    """Equal to float64 throughout, whatever of it was asked first, and counted anew once it is written to."""
    tensor = torch.randn(1100, 601, generator=torch.Generator().manual_seed(0)).mul(0.02).to(dtype)
    for _ in range(2):
        exact, root = tensor.double().flatten(), math.sqrt(tensor.numel())
        hoyer = (root - float(exact.abs().sum() / exact.norm())) / (root - 1)
        assert float(weight_norm({"W": tensor})["W"]) == pytest.approx(float(exact.norm()), rel=1e-12)
        assert float(hoyer_sparsity({"W": tensor})["W"]) == pytest.approx(hoyer, rel=1e-11)
        assert float(gini_sparsity({"W": tensor})["W"]) == pytest.approx(sorted_gini(tensor), rel=1e-11)
        tensor[:300] *= 3


def test_where_in_memory_the_entries_lie_does_not_matter() -> None:
    """To the last digit, as a number must be when weights are mapped from a file or copied."""
    values = torch.randn(10_007, generator=torch.Generator().manual_seed(0))
    norms = set()
    for shift in range(8):
        room = torch.empty(len(values) + 8)
        room[shift : shift + len(values)] = values
        norms.add(float(weight_norm({"W": room[shift : shift + len(values)]})["W"]))
    assert len(norms) == 1


def test_zero_and_nan() -> None:
    zero, broken = {"W": torch.zeros(3)}, {"W": torch.tensor([1.0, float("nan"), 0.0])}
    assert float(sum_of_squared_weights(zero)) == float(weight_norm(zero)["W"]) == 0
    assert sum_of_squared_weights(broken).isnan()
    assert weight_norm(broken)["W"].isnan()
    assert hoyer_sparsity(zero)["W"].isnan()
    assert gini_sparsity(zero)["W"].isnan()
    assert gini_sparsity(broken)["W"].isnan()
    assert float(module_norm(zero)["W"]) == 0
    assert hoyer_sparsity({"W": torch.ones(1)})["W"].isnan()
    assert cosine_to_final(zero, zero)["W"].isnan()
    for distance in (distance_from_first, distance_to_final):
        assert distance({"W": torch.ones(3)}, zero)["W"].isnan()


def test_inputs_are_left_as_they_are() -> None:
    before = {name: tensor.clone() for name, tensor in weights().items()}
    for metric in (sum_of_squared_weights, weight_norm, hoyer_sparsity, gini_sparsity, module_norm):
        metric(weights())
    for metric in (distance_from_first, distance_to_final, cosine_to_final):
        metric(weights(), weights())
    assert all(torch.equal(weights()[name], before[name]) for name in before)
