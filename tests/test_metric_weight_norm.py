"""`sum_of_squared_weights`."""

from __future__ import annotations

import torch
from tiny_models import tiny_model

from metrics.weight_norm import sum_of_squared_weights


def test_equals_torchs_own_norm() -> None:
    weights = dict(tiny_model("gpt_neox").named_parameters())
    before = {name: tensor.clone() for name, tensor in weights.items()}
    expected = torch.nn.utils.parameters_to_vector(weights.values()).double().norm().square()
    torch.testing.assert_close(sum_of_squared_weights(weights), expected)
    assert all(torch.equal(weights[name], before[name]) for name in weights)


def test_tied_embeddings_count_once() -> None:
    weights = dict(tiny_model("gpt2").named_parameters())
    assert "lm_head.weight" not in weights
    twice = weights | {"lm_head.weight": weights["transformer.wte.weight"]}
    assert float(sum_of_squared_weights(twice)) > float(sum_of_squared_weights(weights))


def test_zero_and_nan() -> None:
    assert float(sum_of_squared_weights({"a": torch.zeros(3)})) == 0
    assert sum_of_squared_weights({"a": torch.tensor([1.0, float("nan")])}).isnan()
