"""Small histories on the stand-in hub, and what tests say of a listing."""

from __future__ import annotations

import json
from typing import Any

from safetensors.torch import save

from conftest import tiny_model
from dynamics.demo import tokenizer
from dynamics.sources import Access, Series, catalogue
from dynamics.sources.hub import open_entry
from hub_stand_in import StandIn

STEPS = (0, 1, 2, 4, 8, 16, 32, 64)
REPO = "acme/tiny"


def files_of(seed: int) -> dict[str, bytes]:
    """A checkpoint as a repo holds it."""
    model = tiny_model(seed)
    tensors = {name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}
    return {
        "model.safetensors": save(tensors, {"format": "pt"}),
        "config.json": json.dumps(model.config.to_dict() | {"model_type": "small_transformer"}, default=str).encode(),
        "tokenizer.json": tokenizer().to_str().encode(),
    }


def publish(hub: StandIn, steps: tuple[int, ...] = STEPS) -> None:
    """One branch for each step; `main` is the last."""
    repo = hub.repo(REPO)
    for step in steps:
        repo.commit(files_of(step), branch=f"step{step}")
    repo.commit(files_of(steps[-1]), branch="main")


def steps_of(series: Series) -> list[int]:
    return [checkpoint.step for checkpoint in series.checkpoints]


def reasons(series: Series) -> dict[int, str]:
    return {checkpoint.step: reason for checkpoint, reason in series.left_out}


def listed(settings: dict[str, Any]) -> Series:
    """The history that an entry of the catalogue with these settings would give."""
    entry = next(catalogue.expand({"name": "t", "title": "t", "repo": REPO, "kind": "branch"} | settings))
    return open_entry(entry, None, Access())
