"""The gallery: what `dynamics demo NAME` trains and measures. Each is one of the project's own recipes, within two
minutes on two cores, and travels with the package, so that it works where there is no repository."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dynamics.errors import unknown
from dynamics.recipe import Recipe, read_recipe

INDUCTION = "induction"  # trains two models of its own on a language of its own: dynamics/demo.py
RECIPES = {
    "grokking": "grokking-fast",
    "superposition": "superposition-pentagon",
    "parity": "sparse-parity",
    "quanta": "multitask-parity",
}
NAMES = (INDUCTION, *RECIPES)

OnTraining = Callable[[str, int, int], None]


def train_exhibit(name: str, folder: Path, on_training: OnTraining) -> Recipe:
    """Train what an exhibit shows into `folder`, where it is not there yet. Returns the recipe that measures it.

    Raises `UsageError` for a name that the gallery does not have.
    """
    if name not in NAMES:
        raise unknown(name, NAMES, kind="demo", listed_by="dynamics demo --help")
    if name == INDUCTION:
        from dynamics.demo import make_series, recipe

        return recipe(make_series(folder, on_training))
    from dynamics.training import train_recipe

    chosen = read_recipe(recipe_path(RECIPES[name]))
    train_recipe(chosen, folder, on_step=on_training)
    return chosen


def recipe_path(name: str) -> Path:
    """Where a recipe of the gallery is: in the installed package, or in `runs/` of a repository."""
    packaged = Path(__file__).parent / "recipes" / f"{name}.toml"
    return packaged if packaged.exists() else Path(__file__).parents[1] / "runs" / f"{name}.toml"
