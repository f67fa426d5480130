"""Training small models and keeping their histories. One file for each task that can be trained.

A trainable file `task.py`, named as the task that measures it, has `Model`, a pydantic model of what a recipe may set
in `[train.model]`, and `prepare(model, task, seed) -> Trainee`. Data come from the recipe's settings of that task, so
that a model is measured on what it was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from dynamics.errors import UsageError, unknown
from dynamics.recipe import Recipe, TrainSettings
from dynamics.sources.steps import select_steps
from dynamics.training.loop import OnStep, Plan, Trainee, fit
from dynamics.training.next_token import train
from dynamics.training.saving import save

__all__ = ["OnStep", "Plan", "Trainee", "fit", "save", "train", "train_recipe", "trainable"]


@cache
def trainable() -> dict[str, ModuleType]:
    """Every task that a recipe can train, by name."""
    names = sorted(module.name for module in iter_modules(__path__))
    return {name: module for name in names if hasattr(module := import_module(f"{__name__}.{name}"), "prepare")}


def train_recipe(
    recipe: Recipe, folder: str | Path, *, seeds: Sequence[int] | None = None, on_step: OnStep | None = None
) -> dict[str, Path]:
    """Train what a recipe's `[train]` table names, one history a seed, each a folder of checkpoints under `folder`.

    A history that is whole is left as it is, and one that was interrupted goes on to the same weights. Returns the
    folder of each history by its name. Raises `UsageError` for unknown names and bad values before training starts.
    """
    if recipe.train is None:
        msg = f"recipe {recipe.name!r} has no [train] table; add one, or measure it with 'dynamics run'"
        raise UsageError(msg)
    plan = recipe.train
    made = {}
    for seed in dict.fromkeys(plan.seeds if seeds is None else seeds):
        name = recipe.series_of_seed(seed)
        watch = None if on_step is None else _named(on_step, name)
        made[name] = fit(_prepare(recipe, plan, seed), Path(folder) / name, _plan(recipe, plan, seed), watch)
    return made


def _named(on_step: OnStep, name: str) -> OnStep:
    return lambda _, done, total: on_step(name, done, total)


def _prepare(recipe: Recipe, plan: TrainSettings, seed: int) -> Trainee:
    if plan.task not in trainable():
        raise unknown(plan.task, trainable(), kind="trainable task", listed_by="dynamics train --help")
    module = trainable()[plan.task]
    try:
        model = module.Model(**plan.model)
    except ValidationError as error:
        first = error.errors()[0]
        msg = (
            f"recipe {recipe.name!r}, 'train.model.{'.'.join(map(str, first['loc']))}': {first['msg']} (got "
            f"{first['input']!r}); a model for {plan.task!r} has {', '.join(module.Model.model_fields)}"
        )
        raise UsageError(msg) from error
    return module.prepare(model, recipe.tasks.get(plan.task, {}), seed)


def _plan(recipe: Recipe, plan: TrainSettings, seed: int) -> Plan:
    keep = frozenset(select_steps(range(plan.steps + 1), plan.checkpoints))
    conditions: Mapping[str, Any] = {
        "seed": seed,
        "task_settings": recipe.tasks.get(plan.task, {}),
        **plan.model_dump(mode="json", exclude={"seeds"}),
    }
    return Plan(plan.steps, keep, plan.optimizer, conditions)
