"""Modular arithmetic: the operations by hand, and what is said where one has no answer."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch

from dynamics.architectures.small_transformer import SmallTransformer, SmallTransformerConfig
from dynamics.carry_out import CHECKPOINTS, carry_out
from dynamics.errors import UsageError
from dynamics.recipe import read_recipe
from dynamics.tasks import Subject, build_task
from dynamics.training import train_recipe
from dynamics.training.modular_addition import answers

ROOT = Path(__file__).resolve().parents[1]
SEVEN = Subject(8, 3, None, None)


@pytest.mark.parametrize(
    ("operation", "by_hand"),
    [
        ("a + b", lambda a, b: (a + b) % 7),
        ("a - b", lambda a, b: (a - b) % 7),
        ("a / b", lambda a, b: next((c for c in range(7) if c * b % 7 == a), 0) if b else 0),
        ("a^2 + ab + b^2", lambda a, b: (a**2 + a * b + b**2) % 7),
    ],
)
def test_every_pair_has_the_answer_of_its_operation(operation: str, by_hand: object) -> None:
    task = build_task("modular_addition", {"operation": operation}, SEVEN)
    for (a, b, equals), answer in zip(task.tokens.tolist(), task.fields["answer"].tolist(), strict=True):
        assert answer == by_hand(a, b)  # pyright: ignore[reportCallIssue]
        assert equals == 7


def test_the_operation_is_part_of_what_is_hashed_and_the_default_is_addition() -> None:
    hashes = {build_task("modular_addition", {"operation": name}, SEVEN).hash for name in ("a + b", "a - b", "a / b")}
    assert len(hashes) == 3
    assert build_task("modular_addition", {}, SEVEN).hash in hashes


def test_division_needs_a_prime() -> None:
    with pytest.raises(UsageError, match="division modulo p = 9, which is no prime"):
        build_task("modular_addition", {"operation": "a / b", "p": 9}, Subject(10, 3, None, None))


@pytest.mark.parametrize("n_layers", [1, 2])
def test_what_is_trained_on_is_the_last_position_of_the_whole_pass_with_its_gradients(n_layers: int) -> None:
    torch.manual_seed(0)
    network = SmallTransformer(SmallTransformerConfig(
        d_vocab=8, n_ctx=3, n_layers=n_layers, n_heads=2, d_model=8, d_head=4, d_mlp=12, layer_norm=False,
    )).double()  # fmt: skip
    tokens = build_task("modular_addition", {}, SEVEN).tokens
    towards = torch.randn(len(tokens), 8, dtype=torch.float64)
    found = []
    for logits in (network(input_ids=tokens).logits[:, -1], answers(network, tokens)):
        network.zero_grad()
        (logits * towards).sum().backward()
        found.append([logits, *(parameter.grad for parameter in network.parameters())])
    torch.testing.assert_close(*found)
    assert all(gradient.abs().max() > 0 for gradient in found[1][1:])


@pytest.mark.slow
def test_the_fast_recipe_memorises_and_then_generalises(tmp_path: Path) -> None:
    recipe = read_recipe(ROOT / "runs" / "grokking-fast.toml")
    assert recipe.train
    short = recipe.train.model_copy(update={"steps": 1300, "checkpoints": "every:100"})
    metrics = ("train_accuracy", "test_accuracy", "accuracy_by_symmetry", "restricted_loss", "excluded_loss")
    recipe = recipe.model_copy(update={"train": short, "metrics": metrics})
    train_recipe(recipe, tmp_path / CHECKPOINTS)
    curves = carry_out(recipe, out=tmp_path).measurements()

    def at(step: int, metric: str, label: str | None = None) -> float:
        rows = curves.filter((pl.col("step") == step) & (pl.col("metric") == metric))
        return rows.filter(pl.col("label").eq_missing(label))["value"].item()

    assert at(200, "train_accuracy") == 1
    assert at(200, "accuracy_by_symmetry", "mirror_unseen") < 0.1
    assert at(1300, "test_accuracy") > 0.99
    # The circuit is there while the test loss does not show it yet, and the network comes to rely on it.
    assert at(500, "accuracy_by_symmetry", "mirror_unseen") < 0.2
    assert at(500, "restricted_loss", "all") < 0.5 * at(0, "restricted_loss", "all")
    assert at(1300, "excluded_loss") > at(100, "excluded_loss") + 2
