"""Muon: matrices inside the layers take orthogonal steps, everything else AdamW's."""

from __future__ import annotations

import pytest
import torch

from dynamics.training.muon import MuonAndAdamW, orthogonal, split
from tiny_models import tiny_model


def small(**changes: object) -> tuple[torch.nn.Parameter, torch.nn.Parameter, MuonAndAdamW]:
    torch.manual_seed(0)
    matrix, vector = torch.nn.Parameter(torch.zeros(6, 4)), torch.nn.Parameter(torch.zeros(4))
    groups = [{"params": [matrix], "muon": True}, {"params": [vector], "muon": False}]
    return matrix, vector, MuonAndAdamW(groups, lr=0.1, **({"weight_decay": 0.0} | changes))


@pytest.mark.parametrize("shape", [(5, 5), (8, 3), (3, 8)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    made = orthogonal(matrix)
    in_basis = u.T @ made @ v.T
    assert ((in_basis.diagonal() - 1).abs() < 0.35).all()
    assert float((in_basis - in_basis.diagonal().diag()).abs().max()) < 1e-4


def test_a_first_step_is_as_large_as_the_rate_says_whatever_the_gradient() -> None:
    for scale in (1e-3, 1e3):
        matrix, vector, optimizer = small()
        matrix.grad = scale * torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
        vector.grad = scale * torch.ones(4)
        optimizer.step()
        step = torch.linalg.svdvals(matrix.detach())
        assert step.tolist() == pytest.approx([0.1 * 1.5**0.5] * 4, rel=0.35)  # six outputs for four inputs
        torch.testing.assert_close(vector.detach(), torch.full((4,), -0.1), atol=1e-3, rtol=0)  # AdamW's first step


def test_weights_decay_by_the_rate_in_both_groups() -> None:
    matrix, vector, optimizer = small(weight_decay=0.5)
    with torch.no_grad():
        matrix.fill_(1.0)
        vector.fill_(1.0)
    matrix.grad, vector.grad = torch.zeros(6, 4), torch.zeros(4)
    optimizer.step()
    torch.testing.assert_close(matrix.detach(), torch.full((6, 4), 0.95))
    torch.testing.assert_close(vector.detach(), torch.full((4,), 0.95))


@pytest.mark.parametrize("family", ["gpt_neox", "gpt2"])
def test_tables_and_vectors_are_left_to_adamw(family: str) -> None:
    """Tied tables too; each parameter is in one of the two."""
    model = tiny_model(family)
    matrices, rest = split(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {id(p) for p in matrices} | {id(p) for p in rest} == names.keys()
    assert len(matrices) + len(rest) == len(names)
    assert all(parameter.ndim == 2 for parameter in matrices)
    assert len(matrices) == 8  # four in each of two layers
    assert not any(word in names[id(p)] for p in matrices for word in ("embed", "wte", "wpe", "lm_head"))
