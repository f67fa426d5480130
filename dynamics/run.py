"""A run: the folder with its store, and what can be asked of it. Loads without torch."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import polars as pl

from dynamics.errors import UsageError
from dynamics.store import Store


class Run:
    """One recipe carried out. Every answer is read from the store, so a run can be opened at any time."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def measurements(self) -> pl.DataFrame:
        """All measurements, a row for each metric, step, layer, head, index and label."""
        return self._read("curves")

    def checkpoints(self) -> pl.DataFrame:
        """All checkpoints with their status; the note says why one failed or has gaps."""
        return self._read("checkpoints")

    def failed(self) -> pl.DataFrame:
        """The checkpoints that could not be measured, with the reason."""
        return self.checkpoints().filter(pl.col("status") == "failed")

    def events(self) -> pl.DataFrame:
        """The events as last detected."""
        return self._read("events")

    def query(self, sql: str) -> pl.DataFrame:
        """The answer to SQL over the tables of the store."""
        with Store(self.folder, read_only=True) as store:
            return store.query(sql)

    def detect(
        self, metrics: list[str] | None = None, *, fdr: float = 0.05, min_size: float | None = None
    ) -> pl.DataFrame:
        """Detect events in what is stored and keep them in the store.

        By default every metric is examined but those along an index, such as the loss by position: these are maps,
        whose rows are not curves of their own. Name such a metric to examine it too.
        """
        from dynamics.events import detect  # scipy takes seconds to load, and no other answer needs it

        with Store(self.folder) as store:
            frame, known = _examined(store, metrics)
            events = detect(frame, metrics=known, fdr=fdr, min_size=min_size)
            store.write_events(events)
        return events

    def follow(
        self, known: pl.DataFrame | None = None, metrics: list[str] | None = None, *, fdr: float = 0.05
    ) -> pl.DataFrame:
        """Events of a run that is still growing: which are tentative, confirmed, or withdrawn since the last look.

        `known` is what the call before returned, None at the first. Writes nothing into the store.
        """
        from dynamics.events import follow

        with Store(self.folder, read_only=True) as store:
            frame, bounds = _examined(store, metrics)
        return follow(known, frame, metrics=bounds, fdr=fdr)

    def report(self) -> Path:
        """Write the report and its figures; the path of report.html."""
        return _pictures("report")(self.folder)

    def chart(self, name: str, metric: str | None = None) -> Any:
        """A chart by the name that `dynamics list charts` gives it, as an Altair chart, which a notebook shows.

        A chart that draws one metric at a time shows `metric`, by default the one with most large changes.
        Raises UsageError for an unknown name, or where this run has not measured what the chart needs.
        """
        return _pictures("chart")(self.folder, name, metric)

    def _read(self, table: str) -> pl.DataFrame:
        with Store(self.folder, read_only=True) as store:
            return store.read(table)


def _examined(store: Store, metrics: list[str] | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The measurements in which events are looked for, and what is known of their metrics."""
    known = store.read("metrics")
    if metrics is None:
        wanted = known.filter(~pl.col("axes").str.contains("index"))["metric"].unique().to_list()
    else:
        missing = sorted(set(metrics) - set(known["metric"]))
        if missing:
            msg = f"{', '.join(missing)} not in {store.path}; it has {', '.join(sorted(set(known['metric'])))}"
            raise UsageError(msg)
        wanted = metrics
    return store.read("curves").filter(pl.col("metric").is_in(wanted)), known


def _pictures(what: str) -> Callable[..., Any]:
    """What draws: another package's work, which is built on this one and announces itself by an entry point."""
    found = list(entry_points(group=f"dynamics.{what}"))
    if not found:
        msg = f"nothing is installed that makes a {what}; install this distribution with 'pip install .'"
        raise UsageError(msg)
    return found[0].load()
