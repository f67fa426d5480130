"""Measure a series: plan what is missing, bring the next checkpoint while the present one is measured, append.

A sweep can be stopped at any moment and started again: what is stored under the same weights, inputs and definition
is not measured twice. A checkpoint that cannot be read or measured is recorded with its reason, and the sweep goes on.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl

from dynamics import rows
from dynamics.checkpoint import Checkpoint
from dynamics.errors import CheckpointError, unknown
from dynamics.forward import check_reads
from dynamics.importing import logged_rows, write_rows
from dynamics.instruments import DTYPES, Instruments, Settings, threads
from dynamics.prefetch import Opened, ahead, open_checkpoint, published_sha
from dynamics.references import Held, depth, open_reference
from dynamics.run import Run
from dynamics.sizing import wants_pilot
from dynamics.sources import Series
from dynamics.store import Store
from dynamics.tasks import is_from_last, task_files
from metrics import METRICS, Metric

Places = Sequence[tuple[Checkpoint, str]]  # checkpoints and the hashes of their weights


@dataclass(frozen=True)
class Progress:
    """What just happened to one checkpoint."""

    checkpoint: Checkpoint
    done: int
    total: int
    status: Literal["measured", "stored", "failed"]
    note: str = ""


Watch = Callable[[Progress], None]


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
        self.instruments = Instruments(self.series, self.metrics, self.settings, anchor, self.store)
        with threads(self.settings.device, self.instruments.sizes["n_params"]):
            self._plan(started)
            self.series.release(anchor.checkpoint)
            del anchor  # its file need not stay mapped
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
        """The checkpoint that the model is built from: the last good one where a pilot is to be made or a task from
        it, else one that a metric refers to, else the first good one."""
        checkpoints = self.series.checkpoints
        if wants_pilot(self.settings.tasks) or any(is_from_last(metric.task) for metric in self.metrics):
            checkpoints = checkpoints[::-1]
        elif (reference := open_reference(self.series, self.metrics)) is not None:
            return reference
        for checkpoint in checkpoints:
            try:
                return open_checkpoint(self.series, checkpoint)
            except CheckpointError:
                continue
        return None

    def _plan(self, started: datetime) -> None:
        """Write down what this run is about to do, and read what is stored already."""
        tools = self.instruments
        self.store.write(
            series=[{"series": self.series.name, "source": self.series.source, "seed": self.series.seed} | tools.sizes],
            metrics=[rows.of_metric(metric) for metric in self.metrics],
            tasks=[rows.of_task(tools.tasks[m.task], tools.task_hash(m)) for m in self.metrics if m.task],
            plans=[rows.of_plan(self.run_id, self.series.name, metric, tools.task_hash(metric))
                   for metric in self.metrics],
            runs=[self._run_row(started)], listings=[rows.of_listing(self.series)],
            checkpoints=rows.of_left_out(self.series),
        )  # fmt: skip
        columns = 'stage, step, metric, weights_sha, task_hash, version'
        stored = self.store.query(
            f"SELECT DISTINCT {columns} FROM measurements WHERE series = ?", [self.series.name]
        )
        self.stored = set(stored.rows())
        known = self.store.query(
            "SELECT stage, step, weights_sha FROM checkpoints WHERE series = ? AND status <> 'skipped'",
            [self.series.name],
        )
        self.known = {(stage, step): sha for stage, step, sha in known.rows()}

    def _rounds(self) -> Iterator[tuple[Checkpoint, ...]]:
        if self.settings.budget is None:
            return iter([self.series.checkpoints])
        # Maps along an index have no events of their own to narrow down.
        curves = [metric.name for metric in self.metrics if "index" not in metric.axes]
        from dynamics.adaptive import rounds  # scipy takes seconds to load, and no other sweep needs it

        return rounds(self.series, self.store, curves, self.settings.budget)

    def _to_open(self, checkpoints: tuple[Checkpoint, ...]) -> tuple[Checkpoint, ...]:
        """The checkpoints that have to be fetched: those whose published hash shows that all is stored need not."""
        shas = {}
        for checkpoint in self.series.checkpoints:
            sha = published_sha(self.series, checkpoint)
            if sha is not None and self.known.get((checkpoint.stage, checkpoint.step)) == sha:
                shas[checkpoint] = sha
        wanted = []
        for checkpoint in checkpoints:
            before = self.instruments.predecessors.known(checkpoint, shas)
            if checkpoint in shas and before is not None and not self._missing(checkpoint, shas[checkpoint], before):
                self.store.write(**self._looked_at(checkpoint, before))
                self._report(checkpoint, "stored")
            else:
                wanted.append(checkpoint)
        return tuple(wanted)

    def _missing(self, checkpoint: Checkpoint, sha: str, before: Places) -> list[Metric]:
        """The metrics that are not stored for these weights and inputs."""
        return [
            m for m in self.metrics
            if (checkpoint.stage, checkpoint.step, m.name, sha, self.instruments.inputs_hash(m, checkpoint, before),
                m.version) not in self.stored
        ]  # fmt: skip

    def _one(self, checkpoint: Checkpoint, future: Future[Opened]) -> None:
        tools = self.instruments
        try:
            opened = future.result()
            before = tools.predecessors.of(checkpoint)
            places = [(held.checkpoint, held.weights.sha) for held in before]
            missing = self._missing(checkpoint, opened.weights.sha, places)
            frame = self._measure(opened, missing, before) if missing else None
        except CheckpointError as error:
            tools.predecessors.lost.add(checkpoint)
            self._failed(checkpoint, error)
            return
        looked_at = self._looked_at(checkpoint, places)
        if frame is None:
            tools.predecessors.keep(opened)
            # A step that has gone back to older weights must say so again.
            if self.known.get((checkpoint.stage, checkpoint.step)) != opened.weights.sha:
                looked_at["checkpoints"] = [rows.of_measured(opened, "")]
            self.store.write(**looked_at)
            self._report(checkpoint, "stored")
            return
        gaps = frame.filter(pl.col("value").is_null())["metric"].unique().sort().to_list()
        notes = [f"{name} is undefined: {METRICS[name].undefined or 'not a number'}" for name in gaps]
        note = "; ".join([*tools.remarks, *notes])
        self.store.write(measurements=frame, checkpoints=[rows.of_measured(opened, note)], **looked_at)
        self._report(checkpoint, "measured", note)

    def _looked_at(self, checkpoint: Checkpoint, before: Places) -> dict[str, list[dict[str, Any]]]:
        """What this run asks for at one step, of metrics whose inputs differ from step to step."""
        plans, tasks = [], []
        for metric in self.metrics:
            if back := depth([metric]):
                inputs = self.instruments.inputs_hash(metric, checkpoint, before)
                plan = rows.of_plan(self.run_id, self.series.name, metric, inputs)
                plans.append(plan | {"stage": checkpoint.stage, "step": checkpoint.step,
                                     "refers_to": [sha for _, sha in before[:back]]})  # fmt: skip
                tasks += [rows.of_task(self.instruments.tasks[metric.task], inputs)] if metric.task else []
        return {name: table for name, table in (("plans", plans), ("tasks", tasks)) if table}

    def _measure(self, opened: Opened, metrics: list[Metric], before: list[Held]) -> pl.DataFrame:
        checkpoint, places = opened.checkpoint, [(held.checkpoint, held.weights.sha) for held in before]
        hashes = {metric.name: self.instruments.inputs_hash(metric, checkpoint, places) for metric in metrics}
        return self.instruments.measure(opened, metrics, before).with_columns(
            series=pl.lit(checkpoint.series), stage=pl.lit(checkpoint.stage), step=pl.lit(checkpoint.step),
            weights_sha=pl.lit(opened.weights.sha), run_id=pl.lit(self.run_id),
            task_hash=pl.col("metric").replace_strict(hashes),
        )  # fmt: skip

    def _run_row(self, started: datetime) -> dict[str, Any]:
        settings = self.settings
        return rows.of_run(self.run_id, started, settings.recipe) | {"device": settings.device, "dtype": settings.dtype}

    def _failed(self, checkpoint: Checkpoint, error: BaseException) -> None:
        if not isinstance(error, CheckpointError):
            raise error
        self.store.write(checkpoints=[rows.of_checkpoint(checkpoint, "failed", str(error))])
        self._report(checkpoint, "failed", str(error))

    def _report(self, checkpoint: Checkpoint, status: Literal["measured", "stored", "failed"], note: str = "") -> None:
        self.done += 1
        total = min(len(self.series.checkpoints), self.settings.budget or len(self.series.checkpoints))
        self.watch(Progress(checkpoint, self.done, total, status, note))
