"""Bring the next checkpoint to this machine, hashed and mapped, while the present one is being measured."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from dynamics.checkpoint import Checkpoint, Files, Weights, open_weights
from dynamics.sources import Series


@dataclass(frozen=True)
class Opened:
    """A checkpoint whose weights are on this machine, hashed and mapped."""

    checkpoint: Checkpoint
    files: Files
    weights: Weights


def open_checkpoint(series: Series, checkpoint: Checkpoint) -> Opened:
    """Fetch and open one checkpoint. Raises `CheckpointError` where it cannot be read."""
    files = series.fetch(checkpoint)
    return Opened(checkpoint, files, open_weights(files))


@contextmanager
def ahead(series: Series) -> Iterator[Iterator[tuple[Checkpoint, Future[Opened]]]]:
    """The checkpoints in order, each fetched and opened while the one before is being measured."""

    def each() -> Iterator[tuple[Checkpoint, Future[Opened]]]:
        coming = pool.submit(open_checkpoint, series, series.checkpoints[0])
        for position, checkpoint in enumerate(series.checkpoints):
            present, following = coming, series.checkpoints[position + 1 : position + 2]
            present.exception()  # waits; one checkpoint is opened at a time
            if following:
                coming = pool.submit(open_checkpoint, series, following[0])
            yield checkpoint, present

    pool = ThreadPoolExecutor(1, thread_name_prefix="fetch")
    try:
        yield each()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _open(series: Series, checkpoint: Checkpoint) -> Opened:
    files = series.fetch(checkpoint)
    return Opened(checkpoint, files, open_weights(files))


