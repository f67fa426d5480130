"""Sketched gradients of single tokens: against the gradients themselves, and what the projection does to angles."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity, cross_entropy

from conftest import tiny_model
from dynamics.sites.gradients import Sketch, layer_parameters, token_gradients


def test_the_projection_keeps_the_angles_of_gradients_within_its_bound() -> None:
    model, generator = tiny_model(0), torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 40, (1, 12), generator=generator)
    wanted = torch.ones(1, 11, dtype=torch.bool)
    exact = []
    parameters = layer_parameters(model)
    for place in range(11):
        losses = cross_entropy(model(input_ids=tokens).logits[0, :-1], tokens[0, 1:], reduction="none")
        parts = torch.autograd.grad(losses[place], parameters)
        exact.append(torch.cat([part.flatten() for part in parts]))
    unit = torch.nn.functional.normalize(torch.stack(exact), dim=1)
    sketched = torch.nn.functional.normalize(token_gradients(model, tokens, wanted, width=2048, seed=1), dim=1)
    error = (sketched @ sketched.T - unit @ unit.T)[~torch.eye(11, dtype=torch.bool)]
    # The spread of an inner product of unit vectors is at most sqrt(2 / 2048) = 0.031.
    assert float(error.square().mean().sqrt()) < math.sqrt(2 / 2048)
    assert float((unit @ unit.T).triu(1).abs().max()) > 0.3


def test_a_sketch_is_linear_keeps_lengths_and_is_given_by_its_seed() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.nn.functional.normalize(torch.randn(5000, generator=generator), dim=0) for _ in range(2))
    first, again, other = Sketch([5000], 4096, 0), Sketch([5000], 4096, 0), Sketch([5000], 4096, 1)
    assert torch.allclose(first([2 * x + y]), 2 * first([x]) + first([y]), atol=1e-6)
    assert torch.equal(first([x]), again([x]))
    assert not torch.equal(first([x]), other([x]))
    assert first([x]).norm() == pytest.approx(1, abs=5 * math.sqrt(2 / 4096))
    assert cosine_similarity(first([x]), first([y]), dim=0) == pytest.approx(float(x @ y), abs=5 * math.sqrt(2 / 4096))


def test_embeddings_and_norms_are_left_out_and_the_model_is_as_before() -> None:
    model = tiny_model(0).requires_grad_(False)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(parameter)] for parameter in layer_parameters(model)} == {
        f"blocks.{layer}.attn.W_{matrix}" for layer in range(2) for matrix in "QKVO"
    }
    before = [parameter.clone() for parameter in model.parameters()]
    with torch.inference_mode(False):
        token_gradients(model, torch.tensor([[0, 1, 2]]), torch.tensor([[True, False]]), width=8)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_only_the_tokens_that_are_wanted_have_a_row() -> None:
    model, tokens = tiny_model(0), torch.tensor([[0, 1, 2, 3], [0, 5, 6, 7]])
    wanted = torch.tensor([[False, True, False], [True, False, True]])
    some, all_of_them = (token_gradients(model, tokens, w, width=64) for w in (wanted, torch.ones_like(wanted)))
    assert torch.equal(some, all_of_them[wanted.flatten()])
    assert token_gradients(model, tokens, torch.zeros_like(wanted), width=64).shape == (0, 64)
