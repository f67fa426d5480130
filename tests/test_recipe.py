"""Recipes: what they may say, and what is said of those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynamics.errors import UsageError
from dynamics.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[1]


def write(folder: Path, content: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(content, "utf-8")
    return path


def test_paths_in_a_recipe_are_relative_to_it(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "a"\nmetrics = ["loss"]\n[tasks.text]\npath = "text.txt"\nn_examples = 3\n')
    assert read_recipe(path).tasks == {"text": {"path": str(tmp_path / "text.txt"), "n_examples": 3}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('name = "a"\nmetric = ["loss"]\n', "a recipe has name, title"),
        ("name = \n", "is not TOML"),
        ('name = "../a"\nmetrics = ["loss"]\n', "'name'"),
        ('name = "a"\nmetrics = ["loss"]\n[events]\nfdr = 2.0\n', "'events.fdr'"),
        ('name = "a"\nmetrics = "loss"\n', "'metrics'"),
    ],
)
def test_wrong_recipes_are_refused_by_the_name_of_what_is_wrong(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_recipe(write(tmp_path, content))


@pytest.mark.parametrize("path", sorted((ROOT / "runs").glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_project_can_be_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
