"""What a sweep measures a checkpoint with: the module where a task needs one, the files' weights, other checkpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import torch
from torch import Tensor

from dynamics.checkpoint import Checkpoint, Files, read_json
from dynamics.derived import derive, with_origins
from dynamics.forward import measure_task, measure_weights
from dynamics.loading.placement import DeviceMap, check_device
from dynamics.loading.stored import StoredSites, WeightReader
from dynamics.model import SeriesModel
from dynamics.prefetch import Opened
from dynamics.readings import to_frame
from dynamics.references import ActivationsBefore, Held, Predecessors, cast, read_references
from dynamics.self_check import check_model
from dynamics.sizing import build_sized
from dynamics.sources import Series
from dynamics.store import Store
from dynamics.tasks import Subject
from metrics import METRICS, Metric

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}

# Below this many parameters, threads cost more than they bring.
ONE_THREAD_BELOW = 5_000_000


@dataclass(frozen=True)
class Settings:
    """How to measure: the settings of tasks by name, where, and in which precision.

    With a `budget`, that many checkpoints at most are measured: those that narrow the events down the most.
    """

    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device: str = "cpu"
    dtype: str = "float32"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    budget: int | None = None
    run_id: str | None = None  # for a run that is measured piece by piece
    device_map: DeviceMap | None = None  # where layers rest that are too many for the device

    def __post_init__(self) -> None:
        """Refuse a device that is not there before anything is fetched for it."""
        check_device(self.device)


class Instruments:
    """Made once for a series, at one of its checkpoints. Without a task no module is built."""

    def __init__(
        self, series: Series, metrics: Sequence[Metric], settings: Settings, anchor: Opened, store: Store
    ) -> None:
        self.dtype = DTYPES[settings.dtype]
        self.reader = WeightReader(device=settings.device)
        self.model: SeriesModel | None = None
        self.tasks = {}
        if names := sorted({metric.task for metric in metrics if metric.task}):
            self.model = SeriesModel(anchor.weights, device=settings.device, dtype=self.dtype,
                                     device_map=settings.device_map)  # fmt: skip
            check_model(self.model, reads_attention=any("attention" in metric.reads for metric in metrics))
            subject = _subject(self.model, anchor.files)
            self.tasks = {name: build_sized(name, settings.tasks.get(name, {}), subject, self.model, store)
                          for name in names}  # fmt: skip
            self.sizes = self.model.sizes()
        else:
            self.sizes = self.reader.sizes(self.reader.read(anchor.weights))
        self.reads_files = any(metric.task is None or metric.references for metric in metrics)
        self.references = read_references(series, metrics, self.reader, self.model, self.tasks)
        self.predecessors = Predecessors(series, metrics, self.reader)
        self.activations_before = ActivationsBefore(metrics)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of this checkpoint's numbers should know of the model that gave them."""
        return self.model.remarks if self.model else ()

    def task_hash(self, metric: Metric) -> str:
        """The hash of a metric's inputs, or how it begins at every step for a metric that reads the one before."""
        own = self.tasks[metric.task].hash if metric.task else ""
        if own and self.dtype != torch.float32:  # the same inputs in another precision give other numbers
            own = f"{own[:15]}.{str(self.dtype).removeprefix('torch.')}"
        return self.references.task_hash(metric, own)

    def inputs_hash(self, metric: Metric, checkpoint: Checkpoint, before: Sequence[tuple[Checkpoint, str]]) -> str:
        """The hash of a metric's inputs at one checkpoint, but for its weights."""
        return self.task_hash(metric) + self.predecessors.hash_of(metric, checkpoint, before)

    def measure(self, opened: Opened, metrics: Sequence[Metric], before: Sequence[Held]) -> pl.DataFrame:
        """The metrics of one checkpoint, without what names it. Raises `CheckpointError` where it is not to be trusted.

        Afterwards the checkpoint is held for those after it.
        """
        opened.weights.check_unchanged()  # a mapped file that has become shorter must not be touched
        stored = self.reader.read(opened.weights) if self.reads_files else None
        earlier = self.predecessors.sites(opened.checkpoint, stored, before) if stored else {}
        frames = []
        by_task: dict[str | None, list[Metric]] = defaultdict(list)
        for metric in metrics:
            by_task[metric.task].append(metric)
        activations: Mapping[str, Mapping[str, Any]] = {}
        if self.model and any(by_task):
            activations = self.activations_before.of(before, metrics, self.model, self.tasks)
            self.model.load(opened.weights)
        kept: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, group in by_task.items():
            if name:
                frames += self._of_task(name, group, earlier | dict(activations.get(name, {})), kept[name])
            else:
                frames += self._of_weights(stored, group, earlier)
        self.activations_before.keep(opened.checkpoint, kept)
        for weights in (opened.weights, *(held.weights for held in before), *self.references.opened):
            weights.check_unchanged()
        self.predecessors.keep(opened, stored)
        return pl.concat(frames)

    def _of_task(
        self, name: str, metrics: Sequence[Metric], earlier: Mapping[str, Any], keep: dict[str, Tensor]
    ) -> list[pl.DataFrame]:
        assert self.model is not None
        task = self.tasks[name]
        given = self.references.of_task(name, metrics, self.dtype)
        given |= {key: cast(site, self.dtype) for key, site in earlier.items() if any(key in m.reads for m in metrics)}
        read: dict[str, Tensor] = {}
        answers = derive(metrics, measure_task(self.model, task, with_origins(metrics), given, read))
        keep |= {site: read[site] for site in self.activations_before.wanted.get(name, ()) if site in read}
        return [to_frame(METRICS[m], layer, values, task) for (m, layer), values in answers.items()]

    def _of_weights(
        self, stored: StoredSites | None, metrics: Sequence[Metric], earlier: Mapping[str, Any]
    ) -> list[pl.DataFrame]:
        assert stored is not None
        answers = measure_weights(stored, metrics, self.references.sites | dict(earlier))
        return [to_frame(METRICS[m], layer, values, None) for (m, layer), values in answers.items()]


def _subject(model: SeriesModel, files: Files) -> Subject:
    sizes = model.sizes()
    bos = getattr(model.config, "bos_token_id", None) if files.bos is None else files.bos
    if bos is None and files.config is not None:
        bos = read_json(files.config).get("eos_token_id")
    bos = bos if isinstance(bos, int) else None
    return Subject(sizes["d_vocab"], sizes["n_ctx"], bos, files.tokenizer, model.module)


@contextmanager
def threads(device: str, n_params: int) -> Iterator[None]:
    """One thread for a small model on a processor; afterwards as many as before."""
    before = torch.get_num_threads()
    if device == "cpu" and n_params < ONE_THREAD_BELOW:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
