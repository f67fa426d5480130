"""Composition in a symmetric group: its representations by hand, and planted logits made of their characters."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor

from dynamics.carry_out import CHECKPOINTS, carry_out
from dynamics.errors import UsageError
from dynamics.recipe import Recipe, read_recipe
from dynamics.tasks import Subject, build_task
from dynamics.tasks.modular_addition import compositions
from dynamics.training import train_recipe
from metrics import METRICS, group_composition
from metrics.group_composition import (
    character_variance_explained,
    excluded_loss_by_irrep,
    key_irrep,
    restricted_loss_by_irrep,
)
from metrics.symmetric_group import (
    characters,
    elements,
    isotypic,
    letters_of,
    partitions,
    products,
    quotients,
    representation,
)

ROOT = Path(__file__).resolve().parents[1]
N, G = 4, 24
ANSWER = products(N).flatten()
TRAIN = torch.rand(G * G, generator=torch.Generator().manual_seed(0)) < 0.5


def planted(**heights: float) -> Tensor:
    """[pair 1 G+1]: characters of a b c^-1 with a height each ("r3_1" is 3+1), and a large logit of '='."""
    logits = torch.zeros(G, G, dtype=torch.float64)
    for name, height in heights.items():
        logits += height * characters(N)[name[1:].replace("_", "+")][quotients(N)]
    return torch.cat([logits[ANSWER], torch.full((G * G, 1), 99.0)], 1)[:, None]


def weights_of(*names: str) -> tuple[Tensor, Tensor]:
    """`W_U` and `W_out` whose neuron-logit map is made of matrix elements of some representations, of equal norm."""
    columns = [isotypic(torch.eye(G, dtype=torch.float64), N, name) for name in names]
    w_u = torch.cat([torch.cat(columns, 1).T, torch.zeros(G * len(names), 1)], 1)
    return w_u, torch.eye(len(w_u), dtype=torch.float64)[None]


def test_the_representations_of_s3_by_hand() -> None:
    order = elements(3)
    assert order == ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    table = {name: character.tolist() for name, character in characters(3).items()}
    assert table == {"3": [1] * 6, "2+1": [2, 0, 0, -1, -1, 0], "1+1+1": [1, -1, -1, 1, 1, -1]}
    # The standard representation: the exchange of 0 and 1, and that of 1 and 2, which stand at 120 degrees.
    half, root = 0.5, math.sqrt(3) / 2
    first, second = representation((2, 1))[2], representation((2, 1))[1]
    assert sorted(first.diagonal().tolist()) == pytest.approx([-1, 1])
    assert first.abs().sum() == pytest.approx(2)
    assert sorted(second.diagonal().tolist()) == pytest.approx([-half, half])
    assert second.abs().fliplr().diagonal().tolist() == pytest.approx([root, root])


def test_the_character_table_of_s5() -> None:
    """By cycle type: the identity, (12), (123), (1234), (12345), (12)(34), (12)(345)."""
    classes = ["01234", "10234", "12034", "12304", "12340", "10324", "10342"]
    at = [elements(5).index(tuple(map(int, letters))) for letters in classes]
    table = {name: [int(character[i]) for i in at] for name, character in characters(5).items()}
    assert table == {
        "5": [1, 1, 1, 1, 1, 1, 1], "4+1": [4, 2, 1, 0, -1, 0, -1], "3+2": [5, 1, -1, -1, 0, 1, 1],
        "3+1+1": [6, 0, 0, 0, 1, -2, 0], "2+2+1": [5, -1, -1, 1, 0, 1, -1], "2+1+1+1": [4, -2, 1, 0, -1, 0, 1],
        "1+1+1+1+1": [1, -1, 1, -1, 1, 1, -1],
    }  # fmt: skip


@pytest.mark.parametrize("n", [3, 4, 5])
def test_characters_are_orthonormal_and_representations_multiply(n: int) -> None:
    order = math.factorial(n)
    table = torch.stack(list(characters(n).values()))
    torch.testing.assert_close(table @ table.T / order, torch.eye(len(table), dtype=torch.float64))
    assert sum(float(character[0]) ** 2 for character in characters(n).values()) == order
    a, b = torch.randint(0, order, (2, 100), generator=torch.Generator().manual_seed(n))
    for partition in partitions(n):
        matrices = representation(partition)
        torch.testing.assert_close(matrices[a] @ matrices[b], matrices[products(n)[a, b]])


def test_the_fourier_transform_splits_a_function_into_orthogonal_parts() -> None:
    function = torch.randn(120, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = {name: isotypic(function, 5, name) for name in characters(5)}
    torch.testing.assert_close(sum(parts.values()), function)
    assert sum(float(part.square().sum()) for part in parts.values()) == pytest.approx(float(function.square().sum()))
    # The same by the matrices: sum over g of f(g) rho(g), and back with d / |G| tr(fhat rho(g)^T).
    matrices = representation((3, 1, 1))
    transform = (function[:, :, None] * matrices).sum(0)
    back = 6 / 120 * torch.einsum("ij,gij->g", transform, matrices)
    torch.testing.assert_close(parts["3+1+1"][:, 0], back)


def test_the_task_and_the_metrics_mean_the_same_group() -> None:
    for n in (3, 4, 5):
        assert torch.equal(compositions(n), products(n))
    task = build_task("modular_addition", {"operation": "ab in S4"}, Subject(25, 3, None, None))
    assert letters_of(24, task.fields["answer"]) == 4
    a, b = 7, 18
    one, two, both = (elements(4)[int(i)] for i in (a, b, task.fields["answer"][24 * a + b]))
    assert both == tuple(one[i] for i in two)
    assert letters_of(24, ANSWER.roll(1)) is None
    with pytest.raises(UsageError, match="'ab in S4' is about 24 permutations, not p = 23"):
        build_task("modular_addition", {"operation": "ab in S4", "p": 23}, Subject(25, 3, None, None))


def test_a_planted_character_explains_everything_and_without_it_chance_is_left() -> None:
    logits, (w_u, w_out) = planted(r3_1=10.0), weights_of("3+1")
    shares = character_variance_explained(logits, ANSWER, G)
    assert {name: round(float(value), 9) for name, value in shares.items()} == {
        "3+1": 1, "2+2": 0, "2+1+1": 0, "1+1+1+1": 0, "all": 1}  # fmt: skip
    loss = float(-logits[:, 0, :G].log_softmax(-1).gather(1, ANSWER[:, None]).mean())
    assert loss < 0.01
    restricted = restricted_loss_by_irrep(logits, ANSWER, G, w_u, w_out)
    excluded = excluded_loss_by_irrep(logits, ANSWER, TRAIN, G, w_u, w_out)
    for name in ("3+1", "2+2", "2+1+1", "1+1+1+1", "key"):
        kept = name in ("3+1", "key")
        assert float(restricted[name]) == pytest.approx(loss if kept else math.log(G))
        assert float(excluded[name]) == pytest.approx(math.log(G) if kept else loss)


def test_two_characters_share_the_variance_by_their_squared_heights() -> None:
    shares = character_variance_explained(planted(r3_1=3.0, r2_2=4.0), ANSWER, G)
    assert float(shares["3+1"]) == pytest.approx(9 / 25)
    assert float(shares["2+2"]) == pytest.approx(16 / 25)


def test_noise_and_memorised_answers_are_not_explained() -> None:
    noise = torch.randn(G * G, 1, G + 1, generator=torch.Generator().manual_seed(0))
    assert float(character_variance_explained(noise, ANSWER, G)["all"]) < 0.01
    by_heart = torch.where(TRAIN[:, None], planted(r3_1=1.0)[:, 0], 0.0)[:, None]
    assert 0.4 < float(character_variance_explained(by_heart, ANSWER, G)["all"]) < 0.6


def test_key_representations_are_those_that_the_neurons_write_to() -> None:
    w_u, w_out = weights_of("3+1", "1+1+1+1")
    keys = key_irrep(ANSWER, G, w_u, w_out)
    assert {name for name, value in keys.items() if value} == {"3+1", "1+1+1+1"}
    assert set(keys) == {"3+1", "2+2", "2+1+1", "1+1+1+1"}


def test_another_operation_gives_nan() -> None:
    addition = (torch.arange(G)[:, None] + torch.arange(G)).flatten() % G
    logits, (w_u, w_out) = planted(r3_1=1.0), weights_of("3+1")
    answers = [
        restricted_loss_by_irrep(logits, addition, G, w_u, w_out), character_variance_explained(logits, addition, G),
        excluded_loss_by_irrep(logits, addition, TRAIN, G, w_u, w_out), key_irrep(addition, G, w_u, w_out),
    ]  # fmt: skip
    assert all(value.isnan() for answer in answers for value in answer.values())
    flat = character_variance_explained(torch.ones(G * G, 1, G + 1), ANSWER, G)
    assert flat["all"].isnan()


def test_inputs_are_left_as_they_are() -> None:
    w_u, w_out = weights_of("3+1")
    sites = {"logits": planted(r3_1=1.0), "answer": ANSWER.clone(), "train": TRAIN.clone(), "p": G,
             "W_U_final": w_u, "W_out_final": w_out}  # fmt: skip
    before = {name: value.clone() for name, value in sites.items() if isinstance(value, Tensor)}
    for metric in METRICS.values():
        if metric.function.__module__ == group_composition.__name__:
            metric.function(**{name: sites[name] for name in metric.reads})
    assert all(torch.equal(sites[name], value) for name, value in before.items())


def test_a_small_group_is_trained_and_measured(tmp_path: Path) -> None:
    names = ("train_loss", "key_irrep", "restricted_loss_by_irrep", "excluded_loss_by_irrep",
             "character_variance_explained")  # fmt: skip
    recipe = Recipe(
        name="s3", metrics=names, tasks={"modular_addition": {"operation": "ab in S3", "train_share": 1.0}},
        train={"task": "modular_addition", "steps": 20, "model": {"d_model": 8, "n_heads": 2, "d_mlp": 8}},  # pyright: ignore
    )  # fmt: skip
    train_recipe(recipe, tmp_path / CHECKPOINTS)
    rows = carry_out(recipe, out=tmp_path).measurements()
    assert set(rows["metric"]) == set(names)
    labels = rows.filter(pl.col("metric") == "restricted_loss_by_irrep")["label"].unique().to_list()
    assert set(labels) == {"2+1", "1+1+1", "key"}


@pytest.mark.parametrize("path", sorted((ROOT / "runs").glob("group-*.toml")), ids=lambda path: path.stem)
def test_the_recipes_of_groups_name_a_group(path: Path) -> None:
    assert " in S" in read_recipe(path).tasks["modular_addition"]["operation"]
