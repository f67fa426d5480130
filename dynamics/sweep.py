"""Measure a series: plan what is missing, bring the next checkpoint while the present one is measured, append.

A sweep can be stopped at any moment and started again: what is stored under the same weights, inputs and definition
is not measured twice. A checkpoint that cannot be read or measured is recorded with its reason, and the sweep goes on.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch

from dynamics import rows
from dynamics.adaptive import rounds
from dynamics.checkpoint import Checkpoint, Files, read_json
from dynamics.errors import CheckpointError, unknown
from dynamics.forward import check_reads, measure_task, measure_weights
from dynamics.importing import logged_rows, write_rows
from dynamics.model import SeriesModel
from dynamics.placement import DeviceMap
from dynamics.prefetch import Opened, ahead, open_checkpoint, published_sha
from dynamics.readings import to_frame
from dynamics.references import References, open_reference, read_references
from dynamics.run import Run
from dynamics.self_check import check_model
from dynamics.sizing import build_sized, wants_pilot
from dynamics.sources import Series
from dynamics.store import Store
from dynamics.tasks import Subject, task_files
from metrics import METRICS, Metric

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}

# Below this many parameters, threads cost more than they bring.
ONE_THREAD_BELOW = 5_000_000


@dataclass(frozen=True)
class Progress:
    """What just happened to one checkpoint."""

    checkpoint: Checkpoint
    done: int
    total: int
    status: Literal["measured", "stored", "failed"]
    note: str = ""


Watch = Callable[[Progress], None]


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

def measure(
    series: Series,
    metrics: Sequence[str],
    *,
    out: str | Path,
    settings: Settings | None = None,
    watch: Watch | None = None,
) -> Run:
    """Measure the metrics at every checkpoint of a series into the store in folder `out`.

    Raises `UsageError` for unknown names before anything is read. Checkpoints that fail are in `Run.failed`.
    """
    settings = settings or Settings()
    chosen = [find_metric(name) for name in dict.fromkeys(metrics)]
    if settings.dtype not in DTYPES:
        raise unknown(settings.dtype, DTYPES, kind="dtype", listed_by="dynamics measure --help")
    for name in settings.tasks:
        if name not in task_files():
            raise unknown(name, task_files(), kind="task", listed_by="dynamics list tasks")
    for task in {metric.task for metric in chosen if metric.task}:
        check_reads([m for m in chosen if m.task == task], task_files()[task].FIELDS)
    with Store(out) as store:
        _Sweep(series, chosen, settings, store).run(watch or (lambda _: None))
    return Run(out)


def find_metric(name: str) -> Metric:
    """The metric of that name, or a `UsageError` with the nearest names."""
    if name not in METRICS:
        raise unknown(name, METRICS, kind="metric", listed_by="dynamics list metrics")
    return METRICS[name]


class _Sweep:
    """One pass over a series."""

    def __init__(self, series: Series, metrics: list[Metric], settings: Settings, store: Store) -> None:
        self.series, self.metrics, self.settings, self.store = series, metrics, settings, store
        self.references = References()
        self.run_id = settings.run_id or uuid.uuid4().hex[:12]
        self.done = 0

    def run(self, watch: Watch) -> None:
        started = datetime.now(UTC).replace(tzinfo=None)
        self.watch = watch
        anchor = self._anchor()
        if anchor is None:
            with ahead(self.series) as opened:
                for checkpoint, future in opened:
                    self._failed(checkpoint, future.exception() or CheckpointError("not read"))
            return
        self.model = SeriesModel(anchor.weights, device=self.settings.device, dtype=DTYPES[self.settings.dtype],
                                 device_map=self.settings.device_map)  # fmt: skip
        with _threads(self.model):
            self._plan(anchor, started)
            self.series.release(anchor.checkpoint)
            for checkpoints in self._rounds():
                with ahead(self.series, self._to_open(checkpoints)) as opened:
                    for checkpoint, future in opened:
                        self._one(checkpoint, future)
        logged = logged_rows(self.series.name, self.series.logged())
        if len(logged):
            write_rows(self.store, logged, origin="the training log")
        finished = datetime.now(UTC).replace(tzinfo=None)
        self.store.write(runs=[self._run_row(started) | {"finished": finished}])

    def _anchor(self) -> Opened | None:
        """The checkpoint that the model is built from: the last good one where a pilot is to be made, else one that a
        metric refers to, else the first good one."""
        checkpoints = self.series.checkpoints
        if wants_pilot(self.settings.tasks):
            checkpoints = checkpoints[::-1]
        elif (reference := open_reference(self.series, self.metrics)) is not None:
            return reference
        for checkpoint in checkpoints:
            try:
                return open_checkpoint(self.series, checkpoint)
            except CheckpointError:
                continue
        return None

    def _plan(self, anchor: Opened, started: datetime) -> None:
        """Build the tasks, take the sites of reference checkpoints, and write down what this run is about to do."""
        check_model(self.model)
        subject = _subject(self.model, anchor.files)
        names = sorted({metric.task for metric in self.metrics if metric.task})
        self.tasks = {name: build_sized(name, self.settings.tasks.get(name, {}), subject, self.model, self.store)
                      for name in names}  # fmt: skip
        self.references = read_references(self.model, self.series, self.metrics, anchor, self.tasks)
        asked = {metric.name: self._task_hash(metric) for metric in self.metrics}
        self.store.write(
            series=[{"series": self.series.name, "source": self.series.source, "seed": self.series.seed}
                    | self.model.sizes()],
            metrics=[rows.of_metric(metric) for metric in self.metrics],
            tasks=[rows.of_task(self.tasks[m.task], asked[m.name]) for m in self.metrics if m.task],
            plans=[{"run_id": self.run_id, "series": self.series.name, "metric": metric.name,
                    "task_hash": asked[metric.name], "version": metric.version} for metric in self.metrics],
            runs=[self._run_row(started)],
        )  # fmt: skip
        if self.series.left_out:
            self.store.write(checkpoints=[rows.of_checkpoint(checkpoint, "skipped", f"left out: {reason}")
                                          for checkpoint, reason in self.series.left_out])  # fmt: skip
        columns = 'stage, step, metric, weights_sha, task_hash, version'
        stored = self.store.query(
            f"SELECT DISTINCT {columns} FROM measurements WHERE series = ?", [self.series.name]
        )
        self.stored = set(stored.rows())
        known = self.store.query(
            "SELECT stage, step, weights_sha FROM checkpoints WHERE series = ?", [self.series.name]
        )
        self.known = {(stage, step): sha for stage, step, sha in known.rows()}

    def _rounds(self) -> Iterator[tuple[Checkpoint, ...]]:
        if self.settings.budget is None:
            return iter([self.series.checkpoints])
        # Maps along an index have no events of their own to narrow down.
        curves = [metric.name for metric in self.metrics if "index" not in metric.axes]
        return rounds(self.series, self.store, curves, self.settings.budget)

    def _to_open(self, checkpoints: tuple[Checkpoint, ...]) -> tuple[Checkpoint, ...]:
        """The checkpoints that have to be fetched: those whose published hash shows that all is stored need not."""
        wanted = []
        for checkpoint in checkpoints:
            sha = published_sha(self.series, checkpoint)
            is_known = sha is not None and self.known.get((checkpoint.stage, checkpoint.step)) == sha
            if is_known and all(self._key(checkpoint, sha, metric) in self.stored for metric in self.metrics):
                self._report(checkpoint, "stored")
            else:
                wanted.append(checkpoint)
        return tuple(wanted)

    def _one(self, checkpoint: Checkpoint, future: Future[Opened]) -> None:
        try:
            opened = future.result()
            sha = opened.weights.sha
            missing = [metric for metric in self.metrics if self._key(checkpoint, sha, metric) not in self.stored]
            if not missing:
                self._keep(opened)
                self._report(checkpoint, "stored")
                return
            self.model.load(opened.weights)
            frame = self._measure(opened, missing)
            opened.weights.check_unchanged()
        except CheckpointError as error:
            self._failed(checkpoint, error)
            return
        gaps = frame.filter(pl.col("value").is_null())["metric"].unique().sort().to_list()
        notes = [f"{name} is undefined: {METRICS[name].undefined or 'not a number'}" for name in gaps]
        note = "; ".join([self.model.changed] * bool(self.model.changed) + notes)
        self.store.write(measurements=frame, checkpoints=[rows.of_measured(opened, note)])
        self._report(checkpoint, "measured", note)

    def _keep(self, opened: Opened) -> None:
        """Everything is stored already. A step that has gone back to older weights must say so again."""
        place = (opened.checkpoint.stage, opened.checkpoint.step)
        if self.known.get(place) != opened.weights.sha:
            self.store.write(checkpoints=[rows.of_measured(opened, "")])

    def _measure(self, opened: Opened, metrics: list[Metric]) -> pl.DataFrame:
        frames = []
        by_task: dict[str | None, list[Metric]] = defaultdict(list)
        for metric in metrics:
            by_task[metric.task].append(metric)
        for name, group in by_task.items():
            task = self.tasks[name] if name else None
            answers = (
                measure_task(self.model, task, group, self.references.sites)
                if task else measure_weights(self.model, group, self.references.sites)
            )  # fmt: skip
            frames += [to_frame(METRICS[m], layer, values, task) for (m, layer), values in answers.items()]
        checkpoint = opened.checkpoint
        hashes = {metric.name: self._task_hash(metric) for metric in metrics}
        return pl.concat(frames).with_columns(
            series=pl.lit(checkpoint.series), stage=pl.lit(checkpoint.stage), step=pl.lit(checkpoint.step),
            weights_sha=pl.lit(opened.weights.sha), run_id=pl.lit(self.run_id),
            task_hash=pl.col("metric").replace_strict(hashes),
        )  # fmt: skip

    def _run_row(self, started: datetime) -> dict[str, Any]:
        settings = self.settings
        return rows.of_run(self.run_id, started, settings.recipe) | {"device": settings.device, "dtype": settings.dtype}

    def _task_hash(self, metric: Metric) -> str:
        return self.references.task_hash(metric, self.tasks[metric.task].hash if metric.task else "")

    def _key(self, checkpoint: Checkpoint, sha: str | None, metric: Metric) -> tuple[Any, ...]:
        return (checkpoint.stage, checkpoint.step, metric.name, sha, self._task_hash(metric), metric.version)

    def _failed(self, checkpoint: Checkpoint, error: BaseException) -> None:
        if not isinstance(error, CheckpointError):
            raise error
        self.store.write(checkpoints=[rows.of_checkpoint(checkpoint, "failed", str(error))])
        self._report(checkpoint, "failed", str(error))

    def _report(self, checkpoint: Checkpoint, status: Literal["measured", "stored", "failed"], note: str = "") -> None:
        self.done += 1
        total = min(len(self.series.checkpoints), self.settings.budget or len(self.series.checkpoints))
        self.watch(Progress(checkpoint, self.done, total, status, note))


def _subject(model: SeriesModel, files: Files) -> Subject:
    sizes = model.sizes()
    bos = getattr(model.config, "bos_token_id", None)
    if bos is None and files.config is not None:
        bos = read_json(files.config).get("eos_token_id")
    return Subject(sizes["d_vocab"], sizes["n_ctx"], bos if isinstance(bos, int) else None, files.tokenizer)


@contextmanager
def _threads(model: SeriesModel) -> Iterator[None]:
    before = torch.get_num_threads()
    if model.device.type == "cpu" and model.sizes()["n_params"] < ONE_THREAD_BELOW:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
