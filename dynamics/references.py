"""Sites of another checkpoint that metrics read: those of the series' first and of its last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dynamics.errors import CheckpointError
from dynamics.forward import read_activations, read_site
from dynamics.model import SeriesModel
from dynamics.prefetch import Opened, open_checkpoint
from dynamics.sources import Series
from dynamics.tasks import Task
from metrics.contract import ACTIVATION_SITES, WEIGHT_SITES, Metric

PLACES = {"first": 0, "final": -1}


@dataclass(frozen=True)
class References:
    """The sites by their full name, such as `W_U_final`, and the hashes of the weights that they were read from."""

    sites: dict[str, Any] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    def task_hash(self, metric: Metric, own: str) -> str:
        """The hash of a metric's inputs: a checkpoint that it refers to is one of them."""
        referred = [self.hashes[which][:24] for which in PLACES if which in metric.references]
        return "+".join([own[:24], *referred]) if referred else own


def open_reference(series: Series, metrics: Sequence[Metric]) -> Opened | None:
    """The reference checkpoint to build the model from, the last before the first; None where no metric has one."""
    for which in ("final", "first"):
        if any(which in metric.references for metric in metrics):
            return _open(series, metrics, which)
    return None


def read_references(
    model: SeriesModel, series: Series, metrics: Sequence[Metric], loaded: Opened, tasks: Mapping[str, Task]
) -> References:
    """Copies of the sites that outlive the next swap of weights. `loaded` is what the model holds now.

    Activations are those of the metric's own task.
    """
    references = References()
    # What the model holds comes first, so that it is not read again.
    for which in sorted(PLACES, key=lambda which: series.checkpoints[PLACES[which]] != loaded.checkpoint):
        sites = {name for metric in metrics for name in metric.sites(f"_{which}")}
        if not sites:
            continue
        opened = loaded
        if series.checkpoints[PLACES[which]] != loaded.checkpoint:
            opened = _open(series, metrics, which)
            model.load(opened.weights)
        read = {name: _copy(read_site(model, name)) for name in sites if name in WEIGHT_SITES}
        for task in sorted({metric.task for metric in metrics if metric.task}):
            referred = {site for metric in metrics if metric.task == task for site in metric.sites(f"_{which}")}
            if wanted := referred & {*ACTIVATION_SITES}:
                read |= read_activations(model, tasks[task], wanted)
        references.sites.update({f"{name}_{which}": site for name, site in read.items()})
        references.hashes[which] = opened.weights.sha
        if opened is not loaded:
            series.release(opened.checkpoint)
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


def _copy(site: Any) -> Any:
    return {k: v.clone() for k, v in site.items()} if isinstance(site, Mapping) else site.clone()
