"""A run's store as it is now, without opening it.

A DuckDB file admits one writing process and then no other reader, and a reader that holds it keeps a writer out.
So the page never opens a run's file: it copies the file and its log and opens the copy. A copy made while a
commit was being written is noticed by the files' times and sizes, and made again.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from polars.exceptions import PolarsError

from dashboards.frames import Frames, read_frames
from dynamics.errors import DynamicsError, StoreError
from dynamics.store import FILE_NAME

TRIES = 5
REST = 1.0  # seconds without reading for each second that reading took: at least half of a core is the run's
LEAST_REST = 0.05
REST_AFTER_FAILURE = 1.0
Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Snapshot:
    """One state of a run: what its files looked like, the copy of its store, and its tables ready for showing."""

    stamp: Stamp
    folder: Path
    frames: Frames


def stamp(folder: Path) -> Stamp:
    """Times, sizes and identities of the store's files: they change with every commit. Empty where there is none."""
    seen = []
    for name in (FILE_NAME, f"{FILE_NAME}.wal"):
        with suppress(OSError):  # the log comes and goes, and so may the run
            state = (folder / name).stat()
            seen.append((name, state.st_mtime_ns, state.st_size, state.st_ino))
    return tuple(seen)


def written(folder: Path) -> float | None:
    """When the run last stored something, in seconds since 1970; None where its file is gone."""
    times = [time_ns for name, time_ns, *_ in stamp(folder)]
    return max(times) / 1e9 if times else None


class Watched:
    """The newest good snapshot of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._scratch = Path(tempfile.mkdtemp(prefix="dynamics-page-"))
        self._newest: Snapshot | None = None
        self._why_not = ""
        self._next = 0.0  # when the files may be read again
        self._reading = threading.Lock()
        self._lock = threading.Lock()
        self._holders: Counter[Path] = Counter()

    def newest(self) -> Snapshot:
        """The run as it is, or as it last was readable. Raises StoreError where it never was.

        While somebody reads a newer state, and for a while afterwards, the one before is the newest.
        """
        if self._newest is None or stamp(self.folder) != self._newest.stamp:
            self._look()
        if self._newest is None:
            msg = f"cannot read the store in {self.folder}: {self._why_not}"
            raise StoreError(msg)
        return self._newest

    @contextmanager
    def held(self) -> Iterator[Snapshot]:
        """The newest snapshot, whose copy stays until this is left, whatever is stored meanwhile."""
        self.newest()
        with self._lock:
            snapshot = self._newest
            assert snapshot is not None  # once readable, it stays so
            self._holders[snapshot.folder] += 1
        try:
            yield snapshot
        finally:
            with self._lock:
                self._holders[snapshot.folder] -= 1
                self._forget(snapshot)

    def close(self) -> None:
        """Remove the copies."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _look(self) -> None:
        """Read the files, unless another thread does or they were read a moment ago."""
        if not self._reading.acquire(blocking=self._newest is None):
            return
        try:
            if (begun := time.monotonic()) >= self._next:
                least = LEAST_REST if self._renew() else REST_AFTER_FAILURE
                now = time.monotonic()
                self._next = now + max(least, REST * (now - begun))
        finally:
            self._reading.release()

    def _renew(self) -> bool:
        """Copy and read the files; whether that succeeded."""
        self._why_not = f"it was being written each of {TRIES} times; try again"
        for _ in range(TRIES):
            before = stamp(self.folder)
            if not before:
                self._why_not = "its file is gone"
                return False
            copy = Path(tempfile.mkdtemp(dir=self._scratch))
            try:
                for name, *_ in before:
                    shutil.copyfile(self.folder / name, copy / name)
                # A log folded into the file between the two copies leaves a pair that does not belong together.
                if stamp(self.folder) == before:
                    self._replace(Snapshot(before, copy, read_frames(copy)))
                    return True
            except OSError:
                pass  # gone while it was copied: the next try sees another state
            except (DynamicsError, PolarsError) as error:
                self._why_not = str(error).replace(str(copy), str(self.folder))
                if stamp(self.folder) == before:  # whole, and no store that can be read
                    shutil.rmtree(copy, ignore_errors=True)
                    return False
            shutil.rmtree(copy, ignore_errors=True)
        return False

    def _replace(self, snapshot: Snapshot) -> None:
        with self._lock:
            old, self._newest = self._newest, snapshot
            if old is not None:
                self._forget(old)

    def _forget(self, snapshot: Snapshot) -> None:
        """Remove the copy of a state that is neither the newest nor held."""
        if snapshot is not self._newest and self._holders[snapshot.folder] <= 0:
            del self._holders[snapshot.folder]
            shutil.rmtree(snapshot.folder, ignore_errors=True)
