"""Copying and composition by weights: by hand, against full matrices, and at chance for random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metrics import METRICS
from metrics.composition import copying_eigenvalues, k_composition, q_composition, v_composition

COMPOSITIONS = [q_composition, k_composition, v_composition]


def random_weights(d_model: int = 12, d_head: int = 3, d_vocab: int = 20) -> dict[str, Tensor]:
    """Two layers of two heads, with gains."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    inward = {name: normal(2, 2, d_model, d_head) for name in ("W_Q", "W_K", "W_V")}
    return inward | {
        "W_O": normal(2, 2, d_head, d_model), "ln1_w": normal(2, d_model).abs(), "ln_final_w": normal(d_model).abs(),
        "W_E": normal(d_vocab, d_model), "W_U": normal(d_model, d_vocab),
    }  # fmt: skip


def call(metric: Any, weights: dict[str, Tensor]) -> Any:
    return metric(**{name: weights[name] for name in METRICS[metric.__name__].reads})


def test_copying_equals_the_eigenvalues_of_the_full_matrix() -> None:
    w = random_weights()
    for layer in range(2):
        for head in range(2):
            embed = w["W_E"] * w["ln1_w"][layer]
            full = embed @ w["W_V"][layer, head] @ w["W_O"][layer, head] @ (w["ln_final_w"][:, None] * w["W_U"])
            eigenvalues = np.linalg.eigvals(full.numpy())
            expected = eigenvalues.real.sum() / np.abs(eigenvalues).sum()
            assert float(call(copying_eigenvalues, w)[layer, head]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("turn", "expected"), [
    (torch.eye(2), 1.0), (-torch.eye(2), -1.0), (torch.tensor([[0.0, -1.0], [1.0, 0.0]]), 0.0),
])  # fmt: skip
def test_copying_of_the_identity_its_negative_and_a_quarter_turn(turn: Tensor, expected: float) -> None:
    one = torch.eye(2)[None, None]
    score = copying_eigenvalues(torch.eye(2), torch.ones(1, 2), one, turn[None, None], torch.ones(2), torch.eye(2))
    assert float(score) == pytest.approx(expected, abs=1e-12)


def test_compositions_equal_their_definition_on_full_matrices() -> None:
    w = random_weights()
    gained = {name: w["ln1_w"][:, None, :, None] * w[name] for name in ("W_Q", "W_K", "W_V")}
    ov = gained["W_V"] @ w["W_O"]
    qk = gained["W_Q"] @ gained["W_K"].transpose(-1, -2)
    for first in range(2):
        for then in range(2):
            reads = {q_composition: qk[1, then], k_composition: qk[1, then].T, v_composition: ov[1, then]}
            for metric, matrix in reads.items():
                ratio = (ov[0, first] @ matrix).norm() / (ov[0, first].norm() * matrix.norm())
                found = call(metric, w)[f"L0H{first} > L1H{then}"]
                torch.testing.assert_close(found, ratio - 12**-0.5)
    assert len(call(q_composition, w)) == 4


@pytest.mark.parametrize("metric", COMPOSITIONS)
def test_random_weights_are_at_chance(metric: Any) -> None:
    """Gaussian factors of any rank: 1/sqrt(d_model), which is subtracted."""
    w = random_weights(d_model=256, d_head=16) | {"ln1_w": torch.ones(2, 256)}
    assert abs(float(torch.stack(list(call(metric, w).values())).mean())) < 0.005


@pytest.mark.parametrize("metric", COMPOSITIONS)
def test_projectors_onto_one_subspace_and_onto_orthogonal_ones(metric: Any) -> None:
    """1/sqrt(r) for r shared dimensions, 0 for none; chance, 1/sqrt(32), is subtracted from both."""
    inward, outward = torch.eye(32)[:, :16].expand(2, 1, -1, -1), torch.eye(32)[:16].expand(2, 1, -1, -1)
    w = {"W_Q": inward, "W_K": inward, "W_V": inward, "W_O": outward, "ln1_w": torch.ones(2, 32)}
    assert float(call(metric, w)["L0H0 > L1H0"]) == pytest.approx(1 / 4 - 32**-0.5)
    apart = w | {"W_O": torch.stack([torch.eye(32)[16:], torch.eye(32)[:16]])[:, None]}
    assert float(call(metric, apart)["L0H0 > L1H0"]) == pytest.approx(-(32**-0.5))


def test_a_head_of_zeros_has_no_score() -> None:
    w = random_weights() | {"W_O": torch.zeros(2, 2, 3, 12, dtype=torch.float64)}
    assert call(copying_eigenvalues, w).isnan().all()
    for metric in COMPOSITIONS:
        assert all(score.isnan() for score in call(metric, w).values())
    broken = random_weights()
    broken["W_V"][0, 0, 0, 0] = float("nan")
    assert call(copying_eigenvalues, broken).isnan().tolist() == [[True, False], [False, False]]


def test_one_layer_has_nothing_to_compose() -> None:
    w = {name: tensor[:1] for name, tensor in random_weights().items()}
    assert all(call(metric, w) == {} for metric in COMPOSITIONS)


def test_inputs_are_left_as_they_are() -> None:
    w = random_weights()
    for metric in (copying_eigenvalues, *COMPOSITIONS):
        call(metric, w)
    assert all(torch.equal(w[name], tensor) for name, tensor in random_weights().items())
