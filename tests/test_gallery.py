"""The gallery: every exhibit has its recipe, in a repository and in an installed wheel alike."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dynamics import gallery
from dynamics.carry_out import carry_out
from dynamics.errors import UsageError
from dynamics.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", gallery.RECIPES.values())
def test_every_exhibit_has_a_recipe_that_trains(name: str) -> None:
    recipe = read_recipe(gallery.recipe_path(name))
    assert recipe.name == name
    assert recipe.train is not None


def test_an_exhibit_is_trained_and_can_be_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(
        'name = "tiny"\nmetrics = ["train_loss"]\n[tasks.modular_addition]\np = 5\n[train]\n'
        'task = "modular_addition"\nsteps = 3\nmodel = {d_model = 8, n_heads = 2, d_mlp = 8}\n'
    )
    monkeypatch.setattr(gallery, "recipe_path", lambda _: path)
    seen = []
    recipe = gallery.train_exhibit("grokking", tmp_path / "checkpoints", lambda *told: seen.append(told))
    assert seen[-1] == ("tiny-seed0", 3, 3)
    assert carry_out(recipe, out=tmp_path).measurements().height > 0


def test_an_unknown_exhibit_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown demo 'groking'; did you mean 'grokking'"):
        gallery.train_exhibit("groking", tmp_path, lambda *_: None)


def test_the_command_names_every_exhibit() -> None:
    from dynamics.cli import demo

    told = f"{demo.__doc__} {demo.__annotations__['name']}"
    assert all(name in told for name in gallery.NAMES)


@pytest.mark.slow
def test_an_installed_wheel_brings_the_recipes_along(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, tmp_path / "installed"], check=True)
    code = "from dynamics import gallery; print(*map(gallery.recipe_path, gallery.RECIPES.values()), sep='\\n')"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "installed", check=True, capture_output=True, text=True
    )  # fmt: skip
    paths = [Path(line) for line in answer.stdout.splitlines()]
    assert len(paths) == len(gallery.RECIPES)
    assert all(path.exists() and path.is_relative_to(tmp_path / "installed" / "dynamics") for path in paths)
