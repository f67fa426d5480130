"""How many examples a task takes: as many as asked for, or as many as a wanted standard error needs.

`stderr = 0.01` in a task's settings refers to one metric, `stderr_of`, in its own unit: the loss for `text`,
prefix matching for `repeated_tokens`, the bigrams' divergence for `bigrams`, unless the recipe names another. A pilot
of `n_examples` examples at the last checkpoint of the series measures its standard deviation, of the layer and head
where it is widest; (deviation / stderr)^2 examples are taken, the same ones at every checkpoint. A trained model
spreads wider than an untrained one, so the last checkpoint is the one to ask. Other metrics and other checkpoints have
the standard errors that they have, which are stored with each number.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from dynamics.errors import UsageError, unknown
from dynamics.forward import check_reads, measure_task
from dynamics.model import SeriesModel
from dynamics.store import Store, to_json
from dynamics.tasks import SampledSettings, Subject, Task, build_task, read_settings, task_files
from metrics import METRICS, Metric

# Fewer examples than the first give no standard error to be believed; more than the last are the paper's own number.
FEWEST, MOST = 16, 10_000


def settings_of_all(*, text: str | None = None, stderr: float | None = None) -> dict[str, dict[str, Any]]:
    """The settings of tasks that a text, and a wanted standard error, amount to."""
    settings: dict[str, dict[str, Any]] = {}
    for name, module in task_files().items():
        asked = {"path": text if "column" in module.Settings.model_fields else None,
                 "stderr": stderr if issubclass(module.Settings, SampledSettings) else None}  # fmt: skip
        settings[name] = {key: value for key, value in asked.items() if value is not None}
    return {name: asked for name, asked in settings.items() if asked}


def wants_pilot(settings: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a task's size is to be found out."""
    return any(asked.get("stderr") is not None for asked in settings.values())


def build_sized(name: str, asked: Mapping[str, Any], subject: Subject, model: SeriesModel, store: Store) -> Task:
    """A task, of the size that its settings ask for. `model` holds the checkpoint that a pilot is made at.

    What an earlier run into the same store decided for the same settings stands, so that a growing series keeps its
    inputs. The decision and what it rests on are stored with the task's settings.
    """
    settings = read_settings(name, asked)
    if not isinstance(settings, SampledSettings) or settings.stderr is None:
        return build_task(name, asked, subject)
    identity = hashlib.sha256(f"{to_json(settings.model_dump(mode='json'))} {subject.d_vocab}".encode()).hexdigest()
    pilot = _decided(store, name, identity) or _pilot(model, build_task(name, asked, subject), settings, identity)
    task = build_task(name, {**asked, "n_examples": pilot["n_examples"]}, subject)
    return replace(task, settings={**task.settings, "pilot": pilot})


def _decided(store: Store, name: str, identity: str) -> dict[str, Any] | None:
    known = store.read("tasks").filter(pl.col("task") == name)["settings"].to_list()
    pilots = [json.loads(settings).get("pilot") or {} for settings in known]
    return next((pilot for pilot in pilots if pilot.get("identity") == identity), None)


def _pilot(model: SeriesModel, task: Task, settings: SampledSettings, identity: str) -> dict[str, Any]:
    metric = _metric(settings.stderr_of, task.name)
    if task.n_examples < 2:
        msg = f"task {task.name!r} has {task.n_examples} example for its pilot; a standard error needs 2 or more"
        raise UsageError(msg)
    answers = measure_task(model, task, [metric], {})
    # An entry that is undefined for every example has no spread to go by.
    deviation = max(float(values.double().std(0).nan_to_num(0.0).max()) for values in answers.values())  # pyright: ignore[reportAttributeAccessIssue]
    assert settings.stderr is not None
    wanted = math.ceil((deviation / settings.stderr) ** 2)
    return {"of": metric.name, "unit": metric.unit, "deviation": deviation, "n": task.n_examples, "wanted": wanted,
            "n_examples": min(max(wanted, FEWEST), MOST), "identity": identity}  # fmt: skip


def _metric(name: str, task: str) -> Metric:
    able = [m.name for m in METRICS.values() if m.task == task and m.per_example]
    if name not in able:
        raise unknown(name, able, kind=f"metric of task {task!r} with a value for each example",
                      listed_by="dynamics list metrics")  # fmt: skip
    check_reads([METRICS[name]], task_files()[task].FIELDS)
    return METRICS[name]
