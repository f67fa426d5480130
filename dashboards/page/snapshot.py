"""A run's store as it is now, without opening it.

A DuckDB file admits one writing process and then no other reader, and a reader that holds it keeps a writer out.
So the page never opens a run's file: it copies the file and its log and opens the copy. A copy made while a
commit was being written is noticed by the files' times and sizes, and made again.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from dashboards.frames import Frames, read_frames
from dynamics.errors import DynamicsError, StoreError
from dynamics.store import FILE_NAME

TRIES = 5
Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Snapshot:
    """One state of a run: what its files looked like, the copy of its store, and its tables ready for showing."""

    stamp: Stamp
    folder: Path
    frames: Frames


def stamp(folder: Path) -> Stamp:
    """Times and sizes of the store's files: they change with every commit."""
    files = [path for path in (folder / FILE_NAME, folder / f"{FILE_NAME}.wal") if path.exists()]
    return tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files)


class Watched:
    """The newest good snapshot of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._scratch = Path(tempfile.mkdtemp(prefix="dynamics-page-"))
        self._newest: Snapshot | None = None
        self._lock = threading.Lock()

    def newest(self) -> Snapshot:
        """The run as it is, or as it last was readable. Raises StoreError where it never was."""
        with self._lock:
            now = stamp(self.folder)
            if self._newest is None or now != self._newest.stamp:
                self._renew()
            if self._newest is None:
                msg = f"cannot read the store in {self.folder}: it was being written each of {TRIES} times; try again"
                raise StoreError(msg)
            return self._newest

    def close(self) -> None:
        """Remove the copies."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _renew(self) -> None:
        for _ in range(TRIES):
            before = stamp(self.folder)
            copy = Path(tempfile.mkdtemp(dir=self._scratch))
            try:
                for name, _, _ in before:
                    shutil.copyfile(self.folder / name, copy / name)
                # A log folded into the file between the two copies leaves a pair that does not belong together.
                if before and stamp(self.folder) == before:
                    self._replace(Snapshot(before, copy, read_frames(copy)))
                    return
            except (OSError, DynamicsError):
                pass  # torn, or gone: the next try sees another state
            shutil.rmtree(copy, ignore_errors=True)

    def _replace(self, snapshot: Snapshot) -> None:
        old, self._newest = self._newest, snapshot
        if old is not None:
            shutil.rmtree(old.folder, ignore_errors=True)
