"""Bring the next checkpoint to this machine, hashed and mapped, while the present one is being measured."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from dynamics.checkpoint import Checkpoint, Files, Weights, hash_digests, open_weights
from dynamics.errors import CheckpointError
from dynamics.sources import Series
from dynamics.sources.inspection import Weighed

# A download that takes longer than usual, or a measurement that takes less, is made up for by one that is ahead.
AHEAD = 2


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
    weighed = weigh(series, checkpoint)
    if weighed is None:
        return None
    hashes = weighed.hashes
    ordered = [hashes[path] for path in sorted(hashes, key=lambda path: path.rsplit("/", 1)[-1])]
    digests = [sha for sha in ordered if sha is not None]
    return hash_digests(digests) if len(digests) == len(ordered) else None


def weigh(series: Series, checkpoint: Checkpoint) -> Weighed | None:
    """What a checkpoint's source publishes of its weights, or None: fetching it will say why."""
    try:
        return series.publication.weigh(checkpoint) if series.publication else None
    except CheckpointError:
        return None


@contextmanager
def ahead(
    series: Series, checkpoints: tuple[Checkpoint, ...] | None = None
) -> Iterator[Iterator[tuple[Checkpoint, Future[Opened]]]]:
    """Checkpoints in order, by default all, each fetched and opened while the one before is being measured.

    Asking for the next one says that the present one is done with, and lets its files go if they must.
    """
    wanted = iter(series.checkpoints if checkpoints is None else checkpoints)
    fetched: deque[tuple[Checkpoint, Future[Files]]] = deque()
    opened: deque[tuple[Checkpoint, Future[Opened]]] = deque()
    # Two lanes: one checkpoint is hashed and opened while the next is already on its way.
    fetching = ThreadPoolExecutor(1, thread_name_prefix="fetch")
    opening = ThreadPoolExecutor(1, thread_name_prefix="open")

    def fill() -> None:
        for checkpoint in islice(wanted, 1 + AHEAD - len(fetched) - len(opened)):
            fetched.append((checkpoint, fetching.submit(series.fetch, checkpoint)))
        while fetched and len(opened) < 2:  # files that cannot be mapped are held in memory once opened
            checkpoint, files = fetched.popleft()
            opened.append((checkpoint, opening.submit(_open, checkpoint, files)))

    def each() -> Iterator[tuple[Checkpoint, Future[Opened]]]:
        fill()
        while opened:
            checkpoint, future = opened[0]
            future.exception()  # waits
            yield checkpoint, future
            opened.popleft()
            series.release(checkpoint)
            fill()

    try:
        yield each()
    finally:
        fetching.shutdown(wait=False, cancel_futures=True)
        # Whatever was asked for and will not be measured makes room, and lets a fetch that waits for room end.
        for checkpoint, future in (*opened, *fetched):
            future.add_done_callback(lambda _, checkpoint=checkpoint: series.release(checkpoint))
            series.release(checkpoint)
        opening.shutdown(wait=False, cancel_futures=True)


def _open(checkpoint: Checkpoint, files: Future[Files]) -> Opened:
    try:
        brought = files.result()
    except CancelledError as error:  # the sweep has ended
        msg = f"{checkpoint} was not fetched"
        raise CheckpointError(msg) from error
    return Opened(checkpoint, brought, open_weights(brought))
