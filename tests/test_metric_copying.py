"""Copying by weights: by hand, against whole matrices, and at chance for random weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from metrics import METRICS
from metrics.copying import ioi_copy_score, olsson_copying_reconstructed

BOTH = [olsson_copying_reconstructed, ioi_copy_score]


def given(d_model: int = 64, d_head: int = 64, d_vocab: int = 400, examples: int = 8) -> dict[str, Tensor]:
    """Random weights of two layers of two heads, and blocks of 17 tokens."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw)

    tokens = torch.stack([torch.randperm(d_vocab, generator=draw)[:40] for _ in range(examples)])
    return {
        "tokens": tokens, "period": torch.full((examples,), 17),
        "W_E": normal(d_vocab, d_model), "ln1_w": normal(2, d_model).abs(), "W_V": normal(2, 2, d_model, d_head),
        "W_O": normal(2, 2, d_head, d_model), "ln_final_w": normal(d_model).abs(), "W_U": normal(d_model, d_vocab),
    }  # fmt: skip


def copying(sign: float) -> dict[str, Tensor]:
    """Orthogonal tokens; every head writes what it reads, or its negative."""
    eye = torch.eye(64)
    return given(d_vocab=64) | {
        "W_E": eye, "W_U": eye, "W_V": eye.expand(2, 2, -1, -1), "W_O": sign * eye.expand(2, 2, -1, -1),
        "ln1_w": torch.ones(2, 64), "ln_final_w": torch.ones(64),
    }  # fmt: skip


def call(metric: Any, sites: dict[str, Tensor]) -> Tensor:
    return metric(**{name: sites[name] for name in METRICS[metric.__name__].reads})


def test_the_identity_copies_and_its_negative_does_not() -> None:
    """The negative raises all other 16 tokens alike and never the one attended to."""
    for metric in BOTH:
        torch.testing.assert_close(call(metric, copying(1)), torch.ones(8, 2, 2))
    torch.testing.assert_close(call(olsson_copying_reconstructed, copying(-1)), -torch.ones(8, 2, 2))
    assert not call(ioi_copy_score, copying(-1)).any()


def test_both_equal_their_definition_on_whole_matrices() -> None:
    w = given()
    layer, head = 1, 0
    embedded = w["W_E"].double() / w["W_E"].double().square().mean(-1, keepdim=True).sqrt()
    reads = embedded * w["ln1_w"][layer]
    logits = reads @ w["W_V"][layer, head].double() @ w["W_O"][layer, head].double()
    logits = logits * w["ln_final_w"] @ w["W_U"].double()  # [d_vocab d_vocab]
    centred = logits - logits.mean(-1, keepdim=True)
    for example, tokens in enumerate(w["tokens"]):
        block = tokens[1:18]
        raises = centred[block][:, block].clamp(min=0)
        own, everything = raises.diag().mean(), raises.sum(-1).mean()
        found = call(olsson_copying_reconstructed, w)[example, layer, head]
        assert float(found) == pytest.approx(float(4 * own / (own + everything) - 1), abs=1e-4)
        top = logits[tokens[1:3]].topk(5).indices
        share = (top == tokens[1:3, None]).any(-1).double().mean()
        assert float(call(ioi_copy_score, w)[example, layer, head]) == pytest.approx(float(share))


def test_random_weights_are_at_chance() -> None:
    """4 / (N + 1) - 1 = -0.78 for 17 tokens; 5 of 400 tokens are among the first five."""
    w = given(examples=64)
    score = call(olsson_copying_reconstructed, w)
    assert pytest.approx(-0.7778, abs=5e-5) == 4 / 18 - 1
    assert float(score.mean()) == pytest.approx(4 / 18 - 1, abs=0.03)
    assert float(call(ioi_copy_score, w).mean()) == pytest.approx(5 / 400, abs=0.02)


def test_a_head_that_raises_six_others_copies_none() -> None:
    others = torch.stack([torch.eye(64).roll(n, 1) for n in range(1, 7)]).sum(0)
    turned = copying(1) | {"W_O": others.expand(2, 2, -1, -1)}
    assert not call(ioi_copy_score, turned).any()
    torch.testing.assert_close(call(olsson_copying_reconstructed, turned).nan_to_num(-1), -torch.ones(8, 2, 2))


def test_a_head_of_zeros_has_no_score() -> None:
    w = given() | {"W_O": torch.zeros(2, 2, 64, 64)}
    assert all(call(metric, w).isnan().all() for metric in BOTH)


def test_inputs_are_left_as_they_are() -> None:
    w = given()
    for metric in BOTH:
        call(metric, w)
    assert all(torch.equal(w[name], tensor) for name, tensor in given().items())
