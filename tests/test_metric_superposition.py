"""Superposition: the regular arrangements by hand, the invariants, and the published geometries from training."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dynamics.carry_out import CHECKPOINTS, carry_out
from dynamics.recipe import read_recipe
from dynamics.tasks.sparse_features import Settings, draw
from dynamics.training import train_recipe
from metrics.superposition import (
    STICKY_LABELS,
    dimensionality_jumps,
    dimensionality_sum,
    dimensions_per_feature,
    feature_dimensionality,
    feature_products,
    features_represented,
    interference,
    reconstruction_loss,
    sticky_fraction,
)

ROOT = Path(__file__).resolve().parents[1]


def polygon(corners: int) -> Tensor:
    angle = 2 * math.pi * torch.arange(corners, dtype=torch.float64) / corners
    return torch.stack([angle.cos(), angle.sin()])


def antiprism() -> Tensor:
    """A square at height 1/sqrt(3) and one below, turned by 45 degrees."""
    height, radius = math.sqrt(1 / 3), math.sqrt(2 / 3)
    corners = [
        (radius * math.cos(turn + k * math.pi / 2), radius * math.sin(turn + k * math.pi / 2), sign * height)
        for turn, sign in ((0.0, 1), (math.pi / 4, -1)) for k in range(4)
    ]  # fmt: skip
    return torch.tensor(corners, dtype=torch.float64).T


TETRAHEDRON = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64).T
OCTAHEDRON = torch.cat([torch.eye(3), -torch.eye(3)], 1).double()
SHAPES = {
    "1/2": (torch.tensor([[1.0, -1.0]]), 1), "2/3": (polygon(3), 2), "2/5": (polygon(5), 2), "3/4": (TETRAHEDRON, 3),
    "3/8": (antiprism(), 3), "1": (torch.eye(4), 4),
}  # fmt: skip


@pytest.mark.parametrize("level", SHAPES)
def test_a_regular_arrangement_has_its_share_and_fills_its_dimensions(level: str) -> None:
    directions, d_hidden = SHAPES[level]
    numerator, _, denominator = level.partition("/")
    share = int(numerator) / int(denominator or 1)
    assert feature_dimensionality(directions).tolist() == pytest.approx([share] * directions.shape[1])
    assert float(dimensionality_sum(directions)) == pytest.approx(d_hidden)
    placed = dict(zip(STICKY_LABELS, sticky_fraction(directions).tolist(), strict=True))
    assert placed == {name: float(name == level) for name in STICKY_LABELS}
    assert float(features_represented(directions)) == directions.shape[1]


def test_the_shares_agree_with_the_definition_one_feature_at_a_time() -> None:
    w = torch.randn(4, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_hand = []
    for i in range(9):
        unit = w[:, i] / w[:, i].norm()
        by_hand.append(float(w[:, i] @ w[:, i] / sum((unit @ w[:, j]) ** 2 for j in range(9))))
    assert feature_dimensionality(w).tolist() == pytest.approx(by_hand)
    pairs = sum(float(w[:, i] @ w[:, j]) ** 2 for i in range(9) for j in range(9) if i != j)
    assert float(interference(w)) == pytest.approx(pairs)
    assert float(dimensions_per_feature(w)) == pytest.approx(4 / float((w**2).sum()))
    assert float(dimensionality_sum(w)) <= 4


def test_turning_the_hidden_space_changes_nothing() -> None:
    w = torch.randn(3, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)).Q
    for metric in (feature_dimensionality, dimensionality_sum, dimensions_per_feature, interference, sticky_fraction):
        torch.testing.assert_close(metric(turn @ w), metric(w))


def test_random_directions_settle_nowhere() -> None:
    """Two hundred features in a hundred dimensions: no arrangement, and no share of a half."""
    w = torch.randn(100, 200, generator=torch.Generator().manual_seed(0)) / 10
    placed = dict(zip(STICKY_LABELS, sticky_fraction(w).tolist(), strict=True))
    assert placed["none"] > 0.6
    assert placed["1/2"] < 0.05
    assert placed["1"] == 0


def test_a_feature_without_a_direction_has_no_share() -> None:
    w = torch.tensor([[1.0, -1.0, 0.0, 1e-3], [0.0, 0.0, 0.0, 1e-3]])
    assert feature_dimensionality(w).isnan().tolist() == [False, False, True, True]
    assert float(dimensionality_sum(w)) == pytest.approx(1, abs=1e-5)
    assert float(features_represented(w)) == 2
    nothing = torch.zeros(2, 3)
    assert dimensionality_sum(nothing).isnan()
    assert dimensions_per_feature(nothing).isnan()
    assert sticky_fraction(nothing).tolist() == [1.0] + 7 * [0.0]
    broken = torch.full((2, 3), math.nan)
    for metric in (interference, features_represented, dimensionality_sum, dimensions_per_feature):
        assert metric(broken).isnan()
    assert sticky_fraction(broken).isnan().all()


def test_the_loss_weighs_features_by_importance() -> None:
    inputs, outputs = torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.0, 0.0], [0.5, 0.0]])
    assert reconstruction_loss(inputs, outputs, torch.tensor([1.0, 0.2])).tolist() == pytest.approx([1.0, 0.05])


def test_products_are_lengths_on_the_diagonal_and_do_not_change_with_a_rotation() -> None:
    products = feature_products(OCTAHEDRON).view(6, 6)
    assert products.diagonal().tolist() == pytest.approx(6 * [1.0])
    assert sorted(products.flatten().round().tolist()) == 6 * [-1.0] + 24 * [0.0] + 6 * [1.0]
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    turned = feature_products(turn @ OCTAHEDRON.double())
    torch.testing.assert_close(turned, products.flatten(), atol=1e-6, rtol=0)
    assert float(interference(OCTAHEDRON)) == pytest.approx(float(products.square().sum() - 6))
    assert feature_products(torch.full((2, 3), math.nan)).isnan().all()


def test_a_jump_is_a_feature_that_was_there_and_shares_its_dimension_otherwise() -> None:
    alone = torch.eye(2)
    paired = torch.tensor([[1.0, -1.0], [0.0, 0.0]])
    assert float(dimensionality_jumps(paired, alone)) == 2  # 1 to 1/2
    assert float(dimensionality_jumps(alone, alone)) == 0
    assert float(dimensionality_jumps(2 * alone, alone)) == 0  # longer, and as much alone
    assert float(dimensionality_jumps(paired, 0.4 * alone)) == 0  # not there before
    digon, third = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.1]]), 2 * math.pi / 3
    triangle = torch.tensor([[1.0, math.cos(third), math.cos(third)], [0.0, math.sin(third), -math.sin(third)]])
    assert float(dimensionality_jumps(triangle, digon)) == 2  # 1/2 to 2/3; the third was not there
    slow = torch.tensor([[1.0, 0.1], [0.0, 1.0]])
    assert float(dimensionality_jumps(slow, alone)) == 0
    assert dimensionality_jumps(alone, torch.full((2, 2), math.nan)).isnan()


def test_inputs_are_left_as_they_are() -> None:
    w, before = OCTAHEDRON.clone(), OCTAHEDRON.clone()
    for metric in (feature_dimensionality, dimensionality_sum, dimensions_per_feature, interference,
                   features_represented, sticky_fraction, feature_products):  # fmt: skip
        metric(w)
    dimensionality_jumps(w, before)
    assert torch.equal(before, OCTAHEDRON)
    assert torch.equal(w, OCTAHEDRON)


def test_features_are_as_dense_and_as_correlated_as_asked() -> None:
    settings = Settings(n_features=6, density=0.2, sets=2)
    drawn = draw(settings, 20_000, torch.Generator().manual_seed(0))
    there = drawn > 0
    assert there.float().mean(0).tolist() == pytest.approx([0.2] * 6, abs=0.01)
    assert torch.equal(there[:, 0], there[:, 2])
    assert not torch.equal(there[:, 2], there[:, 3])
    assert float(drawn[there].mean()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "steps", "settled", "d_hidden"),
    [
        ("superposition-pentagon", 2500, {"2/5": 1.0}, 2),
        ("superposition-digons", 2500, {"1/2": 0.3, "0": 0.7}, 10),
        ("superposition-octahedron", 5000, {"1/2": 1.0}, 3),
    ],
)
def test_training_ends_in_the_published_geometry(
    tmp_path: Path, recipe: str, steps: int, settled: dict[str, float], d_hidden: int
) -> None:
    content = read_recipe(ROOT / "runs" / f"{recipe}.toml")
    assert content.train
    short = content.train.model_copy(update={"steps": steps, "checkpoints": f"0,{steps}"})
    content = content.model_copy(update={"train": short})
    train_recipe(content, tmp_path / CHECKPOINTS)
    curves = carry_out(content, out=tmp_path).measurements()
    last = curves.filter(step=curves["step"].max())
    shares = dict(last.filter(metric="sticky_fraction").select("label", "value").rows())
    assert {label: share for label, share in shares.items() if share} == pytest.approx(settled, abs=0.04)
    assert last.filter(metric="dimensionality_sum")["value"].item() == pytest.approx(d_hidden, abs=0.02)
    first = curves.filter(metric="reconstruction_loss", step=0)["value"].item()
    assert last.filter(metric="reconstruction_loss")["value"].item() < 0.7 * first
