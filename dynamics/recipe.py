"""Recipes: the TOML file that says what a run does."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dynamics.errors import UsageError


class Strict(BaseModel):
    """Unknown names are refused, so that a misspelt setting is not silently left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SeriesEntry(Strict):
    """One training history of the run. `source` may be left to the command line where there is one series only."""

    name: str | None = None
    source: str | None = None


class ImportEntry(Strict):
    """Results of others to take in. `only` are patterns of metric names, such as lambada_*_acc."""

    path: str
    series: str | None = None
    only: tuple[str, ...] = ()


class EventSettings(Strict):
    """`fdr` is the false-discovery rate over all curves of a family."""

    fdr: float = Field(default=0.05, gt=0, lt=1)


class OptimizerSettings(Strict):
    """How to step. The rate rises in a straight line over the warm-up, from a share of itself, stays, and falls to
    nothing over the cool-down, the last steps of training.

    With "muon", the matrices inside the layers take Muon's steps at the rate of matrices, and the rest AdamW's.
    """

    kind: Literal["adamw", "adam", "sgd", "muon"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    matrix_learning_rate: float = Field(default=0.02, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    warm_up_steps: int = Field(default=0, ge=0)
    warm_up_from: float = Field(default=0.0, ge=0, le=1)
    cool_down_steps: int = Field(default=0, ge=0)


class TrainSettings(Strict):
    """What 'dynamics train' makes: a history for each seed. The data are those of the task's own settings, and
    `checkpoints` are steps to keep, in the language of `steps`: log:40, every:100, or both with a comma."""

    task: str
    steps: int = Field(ge=1)
    checkpoints: str = "log:40"
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    optimizer: OptimizerSettings = OptimizerSettings()
    model: dict[str, Any] = {}


class Reading(Strict):
    """One number of a run, to hold beside a published one: what to read off one curve of a metric.

    `first`, `last`: its value there; `largest`, `smallest`: over all steps; `sum`: over the indices at the last step.
    `above`, `below`: the first step at which it is beyond `level`; `indices`: which indices are above `level` at the
    last step; `count`: how many. `onset`, `midpoint`, `completion`: steps of the largest event in `direction`.
    `order`, `growth`: of the steps at which each label is first below `level`, their rank correlation with the order
    of the labels, and g where they grow as rank^g.
    """

    metric: str
    label: str | None = None
    index: int | None = None
    read: Literal[
        "first", "last", "largest", "smallest", "sum", "above", "below", "indices", "count",
        "onset", "midpoint", "completion", "order", "growth",
    ]  # fmt: skip
    level: float | None = None
    direction: Literal["up", "down"] | None = None
    scale: Literal["linear", "log"] | None = None  # of events: those found on this one alone

    @model_validator(mode="after")
    def _says_enough(self) -> Reading:
        if self.read in ("above", "below", "indices", "count", "order", "growth") and self.level is None:
            msg = f"reading {self.read!r} of {self.metric!r} needs a 'level'"
            raise ValueError(msg)
        return self


class PublishedEntry(Strict):
    """A number that a paper gives, and how this run's own is read: `ours`, less `minus` where it is a distance.

    A `value` in words stands for a set or a range. `note` says what is known of a difference.
    """

    quantity: str
    value: float | str
    source: str
    ours: Reading
    minus: Reading | None = None
    note: str = ""


class Recipe(Strict):
    """What a run does: which histories, which steps, which metrics on which inputs."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str = ""
    description: str = ""
    series: tuple[SeriesEntry, ...] = (SeriesEntry(),)
    steps: str = "all"  # the language of sources/steps.py, or "adaptive"
    budget: int = Field(default=30, ge=8)  # checkpoints that an adaptive sweep may measure
    metrics: tuple[str, ...] = ()
    imports: tuple[ImportEntry, ...] = ()
    chance: dict[str, Annotated[float, Field(ge=0, lt=1)]] = {}  # what guessing gives, by task, beside chance.toml
    include_defective: bool = False
    disk_budget: str | None = None  # such as "20GB"
    trust_remote_code: bool = False  # run the Python files that checkpoints bring along
    tasks: dict[str, dict[str, Any]] = {}
    tokens_per_step: int | None = Field(default=None, ge=1)
    device: str = "cpu"
    dtype: str = "float32"
    device_map: str | dict[str, str] | None = None  # auto, disk, cpu, or where each layer rests, by name
    events: EventSettings = EventSettings()
    train: TrainSettings | None = None
    published: tuple[PublishedEntry, ...] = ()

    def series_of_seed(self, seed: int) -> str:
        """The name of the history that 'dynamics train' makes with a seed."""
        return f"{self.name}-seed{seed}"


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe. Paths in task settings are relative to the recipe's own folder.

    Raises `UsageError` for a file that is missing, no TOML, or has a setting that is unknown or of the wrong kind.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read recipe {str(path)!r}: {error}; expected a TOML file such as runs/modular-addition.toml"
        raise UsageError(msg) from error
    except tomllib.TOMLDecodeError as error:
        msg = f"recipe {str(path)!r} is not TOML: {error}"
        raise UsageError(msg) from error
    try:
        recipe = Recipe(**content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        msg = f"recipe {str(path)!r}, {where!r}: {first['msg']}; a recipe has {', '.join(Recipe.model_fields)}"
        raise UsageError(msg) from error
    if not recipe.metrics and not recipe.imports:
        msg = f"recipe {str(path)!r} asks for nothing; give it 'metrics' to measure or 'imports' to take in"
        raise UsageError(msg)
    folder = path.parent
    imports = tuple(entry.model_copy(update=_relative({"path": entry.path}, folder)) for entry in recipe.imports)
    tasks = {name: _relative(settings, folder) for name, settings in recipe.tasks.items()}
    return recipe.model_copy(update={"tasks": tasks, "imports": imports})


def read_seeds(text: str) -> tuple[int, ...]:
    """Seeds from the command line.

    >>> read_seeds("0, 3")
    (0, 3)
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        msg = f"cannot read seeds {text!r}; expected whole numbers with commas, such as 0,1,2"
        raise UsageError(msg)
    return tuple(int(part) for part in parts)


def _relative(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    if isinstance(settings.get("path"), str) and not settings["path"].startswith("hf:"):
        return settings | {"path": str(folder / Path(settings["path"]).expanduser())}
    return settings
