"""Sites of other checkpoints that metrics read: of the series' first, of its last, and of those before each one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynamics.checkpoint import Checkpoint, Weights
from dynamics.errors import CheckpointError
from dynamics.forward import read_activations, read_site
from dynamics.loading.stored import StoredSites, WeightReader
from dynamics.model import SeriesModel
from dynamics.prefetch import Opened, open_checkpoint
from dynamics.sources import Series
from dynamics.tasks import Task
from metrics.contract import ACTIVATION_SITES, WEIGHT_SITES, Metric

PLACES = {"first": 0, "final": -1}
BEFORE = ("previous", "previous_previous")  # how far back
RATE = "learning_rate"  # as trainers log it


@dataclass(frozen=True)
class References:
    """The sites of the first and the last checkpoint by their full name, such as `W_U_final`, and the hashes of the
    weights that they were read from. Activations are those of one task."""

    sites: dict[str, Any] = field(default_factory=dict)
    activations: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    opened: list[Weights] = field(default_factory=list)  # without their tensors: the files that sites are mapped from

    def task_hash(self, metric: Metric, own: str) -> str:
        """The hash of a metric's inputs: a checkpoint that it refers to is one of them.

        For a metric that reads the checkpoint before, the beginning of what is another hash at every step.
        """
        referred = [self.hashes[which][:24] for which in PLACES if which in metric.references]
        goes_on = [""] * bool(depth([metric]))
        return "+".join([own[:24], *referred, *goes_on]) if referred or goes_on else own

    def of_task(self, task: str, metrics: Sequence[Metric], dtype: torch.dtype) -> dict[str, Any]:
        """What the metrics of a task refer to, its weights in the precision that the model computes with."""
        read = {name: cast(self.sites[name], dtype) for m in metrics for name in m.reads if name in self.sites}
        return read | self.activations.get(task, {})


def open_reference(series: Series, metrics: Sequence[Metric]) -> Opened | None:
    """The reference checkpoint to build the model from, the last before the first; None where no metric has one."""
    for which in ("final", "first"):
        if any(which in metric.references for metric in metrics):
            return _open(series, metrics, which)
    return None


def read_references(
    series: Series,
    metrics: Sequence[Metric],
    reader: WeightReader,
    model: SeriesModel | None,
    tasks: Mapping[str, Task],
) -> References:
    """The sites of the first and the last checkpoint that metrics read; the model then holds either's weights."""
    references = References()
    for which, place in PLACES.items():
        asking = [metric for metric in metrics if which in metric.references]
        if not asking:
            continue
        opened = _open(series, asking, which)
        stored = reader.read(opened.weights)
        sites = {site for metric in asking for site in metric.sites(f"_{which}")}
        references.sites.update({f"{name}_{which}": read_site(stored, name) for name in sites if name in WEIGHT_SITES})
        for name, task in tasks.items():
            activations = {s for m in asking if m.task == name for s in m.sites(f"_{which}")} & {*ACTIVATION_SITES}
            if activations and model is not None:
                model.load(opened.weights)
                read = read_activations(model, task, activations)
                references.activations.setdefault(name, {}).update({f"{s}_{which}": t for s, t in read.items()})
        references.hashes[which] = opened.weights.sha
        references.opened.append(replace(opened.weights, tensors={}))
        series.release(series.checkpoints[place])
    return references


def _open(series: Series, metrics: Sequence[Metric], which: str) -> Opened:
    checkpoint = series.checkpoints[PLACES[which]]
    try:
        return open_checkpoint(series, checkpoint)
    except CheckpointError as error:
        names = ", ".join(metric.name for metric in metrics if which in metric.references)
        place = "last" if which == "final" else which
        msg = f"the {place} checkpoint, {checkpoint}, cannot be read, and {names} refer to it: {error}"
        raise CheckpointError(msg) from error


def depth(metrics: Sequence[Metric]) -> int:
    """How many checkpoints before each one the metrics read: 0, 1 or 2."""
    return max((n for n, which in enumerate(BEFORE, 1) for m in metrics if which in m.references), default=0)


@dataclass(frozen=True)
class Held:
    """A checkpoint that later ones refer to."""

    checkpoint: Checkpoint
    weights: Weights
    stored: StoredSites


class Predecessors:
    """The checkpoints before each one, as far back as metrics read: those in hand, or else read again.

    The checkpoint before is the last one before it, in the order of the series, that can be read.
    """

    def __init__(self, series: Series, metrics: Sequence[Metric], reader: WeightReader) -> None:
        self.series, self.reader, self.depth = series, reader, depth(metrics)
        self.metrics = [metric for metric in metrics if depth([metric])]
        self.place = {checkpoint: i for i, checkpoint in enumerate(series.checkpoints)}
        self.held: dict[Checkpoint, Held] = {}
        self.lost: set[Checkpoint] = set()

    def keep(self, opened: Opened, stored: StoredSites | None = None) -> None:
        """Hold a checkpoint for the ones after it, and let go of those that are too far back."""
        if not self.depth:
            return
        try:
            sites = stored or self.reader.read(opened.weights)
        except CheckpointError:
            self.lost.add(opened.checkpoint)
            return
        self.held.pop(opened.checkpoint, None)
        self.held[opened.checkpoint] = Held(opened.checkpoint, opened.weights, sites)
        while len(self.held) > self.depth:
            self.held.pop(next(iter(self.held)))

    def of(self, checkpoint: Checkpoint) -> list[Held]:
        """The checkpoints before, nearest first; fewer than are asked for at the beginning of the series."""
        found: list[Held] = []
        for earlier in reversed(self.series.checkpoints[: self.place[checkpoint]] if self.depth else ()):
            if len(found) == self.depth:
                break
            if earlier not in self.held and earlier not in self.lost:
                self._read(earlier)
            if earlier in self.held:
                found.append(self.held[earlier])
        return found

    def known(self, checkpoint: Checkpoint, shas: Mapping[Checkpoint, str]) -> list[tuple[Checkpoint, str]] | None:
        """The checkpoints before and their hashes, by hashes that need no reading; None where one is not known."""
        wanted = self.series.checkpoints[max(0, self.place[checkpoint] - self.depth) : self.place[checkpoint]]
        return [(c, shas[c]) for c in reversed(wanted)] if all(c in shas for c in wanted) else None

    def _read(self, checkpoint: Checkpoint) -> None:
        try:
            opened = open_checkpoint(self.series, checkpoint)
        except CheckpointError:
            self.lost.add(checkpoint)
            return
        self.keep(opened)
        self.series.release(checkpoint)

    def hash_of(self, metric: Metric, checkpoint: Checkpoint, before: Sequence[tuple[Checkpoint, str]]) -> str:
        """What of the checkpoints before is an input of a metric at this one; "" for a metric that reads none."""
        back = depth([metric])
        parts = [f"{sha[:24]}@{earlier.stage}{earlier.step}" for earlier, sha in before[:back]]
        if "learning_rate_between" in metric.between:
            parts.append(f"rate={self._rate(checkpoint, before):.9g}")
        return "+".join(parts + ["none"] * (back - len(before)))

    def sites(self, checkpoint: Checkpoint, here: StoredSites, before: Sequence[Held]) -> dict[str, Any]:
        """All that the metrics read of before, by full name. What there is none of is NaN, in the shape it has here."""
        found: dict[str, Any] = {}
        for back, which in enumerate(BEFORE):
            stored = before[back].stored if back < len(before) else None
            sites = {site for metric in self.metrics for site in metric.sites(f"_{which}")}
            for name in sorted(sites & {*WEIGHT_SITES}):
                found[f"{name}_{which}"] = read_site(stored, name) if stored else _nothing(read_site(here, name))
        places = [(held.checkpoint, held.weights.sha) for held in before]
        same_stage = bool(before) and before[0].checkpoint.stage == checkpoint.stage
        found["steps_between"] = checkpoint.step - before[0].checkpoint.step if same_stage else float("nan")
        found["learning_rate_between"] = self._rate(checkpoint, places)
        return found

    def _rate(self, checkpoint: Checkpoint, before: Sequence[tuple[Checkpoint, str]]) -> float:
        """The learning rates of the steps since the checkpoint before, summed, by the training log.

        A log that skips steps is read along a straight line; NaN where it does not reach over all of them.
        """
        if not before or before[0][0].stage != checkpoint.stage:
            return float("nan")
        logged = {int(row["step"]): float(row[RATE]) for row in self.series.logged() if RATE in row and "step" in row}
        steps = np.arange(before[0][0].step + 1, checkpoint.step + 1)
        if not logged or not len(steps) or min(logged) > steps[0] or max(logged) < steps[-1]:
            return float("nan")
        return float(np.interp(steps, sorted(logged), [logged[step] for step in sorted(logged)]).sum())


class ActivationsBefore:
    """The activations of the checkpoint before each one that metrics read, by task: those in hand, or made again."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.wanted: dict[str, set[str]] = {}
        for metric in metrics:
            if metric.task and (sites := _activations_before(metric)):
                self.wanted.setdefault(metric.task, set()).update(sites)
        self.held: tuple[Checkpoint, dict[str, dict[str, Tensor]]] | None = None

    def of(
        self, before: Sequence[Held], metrics: Sequence[Metric], model: SeriesModel, tasks: Mapping[str, Task]
    ) -> dict[str, dict[str, Tensor]]:
        """By task and full name; the model may then hold the weights of the checkpoint before."""
        if not before or not any(map(_activations_before, metrics)):
            return {}
        if self.held is None or self.held[0] != before[0].checkpoint:
            model.load(before[0].weights)
            read = {task: read_activations(model, tasks[task], sites) for task, sites in self.wanted.items()}
            self.held = before[0].checkpoint, read
        return {task: {f"{s}_previous": t for s, t in found.items()} for task, found in self.held[1].items()}

    def keep(self, checkpoint: Checkpoint, kept: Mapping[str, Mapping[str, Tensor]]) -> None:
        """What was read at a checkpoint, for the one after it; nothing where not all was read that it will want."""
        self.held = None
        if all(sites <= {*kept.get(task, {})} for task, sites in self.wanted.items()):
            self.held = checkpoint, {task: dict(kept[task]) for task in self.wanted}


def _activations_before(metric: Metric) -> frozenset[str]:
    return metric.sites("_previous") & {*ACTIVATION_SITES}


def _nothing(site: Any) -> Any:
    if isinstance(site, Mapping):
        return {name: _nothing(value) for name, value in site.items()}
    return site.new_full((), float("nan")).expand_as(site)


def cast(site: Any, dtype: torch.dtype) -> Any:
    """A weight site in another precision."""
    return {name: cast(v, dtype) for name, v in site.items()} if isinstance(site, Mapping) else site.to(dtype)
