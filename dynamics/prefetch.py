"""Bring the next checkpoint to this machine, hashed and mapped, while the present one is being measured."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from dynamics.checkpoint import Checkpoint, Files, Weights, hash_digests, open_weights
from dynamics.errors import CheckpointError
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


def published_sha(series: Series, checkpoint: Checkpoint) -> str | None:
    """The hash that a checkpoint's weights will have, where its source tells without fetching them."""
    if series.publication is None:
        return None
    try:
        hashes = series.publication.weigh(checkpoint).hashes
    except CheckpointError:
        return None  # fetching it will say why
    ordered = [hashes[path] for path in sorted(hashes, key=lambda path: path.rsplit("/", 1)[-1])]
    digests = [sha for sha in ordered if sha is not None]
    return hash_digests(digests) if len(digests) == len(ordered) else None


@contextmanager
def ahead(
    series: Series, checkpoints: tuple[Checkpoint, ...] | None = None
) -> Iterator[Iterator[tuple[Checkpoint, Future[Opened]]]]:
    """Checkpoints in order, by default all, each fetched and opened while the one before is being measured.

    Asking for the next one says that the present one is done with, and lets its files go if they must.
    """
    wanted = series.checkpoints if checkpoints is None else checkpoints
    coming: dict[Checkpoint, Future[Opened]] = {}

    def fetch(position: int) -> None:
        for checkpoint in wanted[position : position + 1]:
            coming[checkpoint] = pool.submit(open_checkpoint, series, checkpoint)

    def each() -> Iterator[tuple[Checkpoint, Future[Opened]]]:
        fetch(0)
        for position, checkpoint in enumerate(wanted):
            coming[checkpoint].exception()  # waits; one checkpoint is opened at a time
            fetch(position + 1)
            yield checkpoint, coming[checkpoint]
            coming.pop(checkpoint)
            series.release(checkpoint)

    pool = ThreadPoolExecutor(1, thread_name_prefix="fetch")
    try:
        yield each()
    finally:
        # Whatever was asked for and will not be measured makes room, and lets a fetch that waits for room end.
        for checkpoint, future in coming.items():
            future.add_done_callback(lambda _, checkpoint=checkpoint: series.release(checkpoint))
            series.release(checkpoint)
        pool.shutdown(wait=False, cancel_futures=True)
