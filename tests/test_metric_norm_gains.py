"""Vanished norm gains: by hand, on a model, at the start of training, and where there is none."""

from __future__ import annotations

import math

import torch

from conftest import tiny_model
from metrics.norm_gains import vanished_gains


def test_gains_of_at_most_a_tenth_are_counted_for_each_norm() -> None:
    weights = {"a.ln1.w": torch.tensor([0.1, -0.05, 0.0, 0.2]), "ln_final.weight": torch.tensor([1.0, 1.0])}
    assert {name: float(value) for name, value in vanished_gains(weights).items()} == {
        "a.ln1.w": 0.75, "ln_final.weight": 0.0,
    }  # fmt: skip


def test_a_new_model_has_lost_none_and_biases_and_matrices_are_no_gains() -> None:
    model = tiny_model(0)
    shares = vanished_gains({name: parameter.detach() for name, parameter in model.named_parameters()})
    assert set(shares) == {"blocks.0.ln1.w", "blocks.1.ln1.w", "ln_final.w"}
    assert all(float(share) == 0 for share in shares.values())


def test_a_gain_that_is_not_finite_is_undefined_and_a_model_without_norms_has_none() -> None:
    assert math.isnan(float(vanished_gains({"ln.w": torch.tensor([math.nan, 0.0])})["ln.w"]))
    assert vanished_gains({"W_in": torch.zeros(3, 2), "b_in": torch.zeros(2)}) == {}


def test_the_weights_are_left_as_they_are() -> None:
    weights = {"ln.w": torch.tensor([0.05, 1.0])}
    vanished_gains(weights)
    assert weights["ln.w"].tolist() == torch.tensor([0.05, 1.0]).tolist()
