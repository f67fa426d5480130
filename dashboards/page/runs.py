"""The runs of a folder as the page has them: each with its newest snapshot and the document drawn from it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from dashboards.document import Document, compose, followed_html
from dashboards.page.following import Following
from dashboards.page.snapshot import Snapshot, Watched, written
from dynamics.errors import DynamicsError, UsageError, unknown
from dynamics.store import FILE_NAME

MAX_POINTS = 20_000  # that go to the page before they are drawn anew
REST = 2.0  # seconds without drawing anew for each second that it took: the machine is measuring
SILENT = 90  # seconds without a checkpoint after which it is said that none came


class Shown:
    """One run: what is read of it, what was last drawn from it, and what is known of its events."""

    def __init__(self, folder: Path) -> None:
        self.watched = Watched(folder)
        self.following = Following()
        self.drawn: tuple[Snapshot, Document] | None = None
        self.next_drawing = 0.0
        self.trouble = ""  # why it could not be drawn the last time

    def state(self) -> str:
        """In what state the run is, for the reader."""
        at, runs = written(self.watched.folder), self.watched.newest().frames.runs
        if at is None:
            return "its file is gone: this is the last that was read"
        if runs.height and not runs["finished"].has_nulls():
            return "finished" + self.trouble
        silent = time.time() - at
        return ("live" if silent < SILENT else f"nothing new for {ago(silent)}") + self.trouble

    def close(self) -> None:
        """Remove the copies and end what still looks for events."""
        self.watched.close()
        self.following.close()


class Runs:
    """The runs of a folder: itself, or those in it. Runs that begin later are found when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shown: dict[str, Shown] = {}
        self._drawing = threading.Lock()
        if not self.names():
            msg = f"no run in {folder}: neither it nor a folder in it holds {FILE_NAME}; 'dynamics run' makes one"
            raise UsageError(msg)

    def names(self) -> list[str]:
        """The runs that are there now, and those that were and have been read."""
        found = [self.folder] if (self.folder / FILE_NAME).exists() else [
            path.parent for path in sorted(self.folder.glob(f"*/{FILE_NAME}"))]  # fmt: skip
        for path in found:
            name = path.resolve().name if path == self.folder else path.name
            # Names of files are bytes, those of addresses text.
            name = name.encode("utf-8", "replace").decode()
            if name not in self._shown:
                self._shown[name] = Shown(path)
        return sorted(self._shown)

    def listed(self) -> list[dict[str, str]]:
        """Every run with when it was last written."""
        times = {name: written(self._shown[name].watched.folder) for name in self.names()}
        return [{"name": name, "written": "its file is gone" if at is None else f"written {ago(time.time() - at)} ago"}
                for name, at in times.items()]  # fmt: skip

    def of(self, name: str) -> Shown:
        """The run of this name. Raises UsageError where there is none."""
        if name not in self._shown and name not in self.names():
            raise unknown(name, self._shown, kind="run", listed_by="the page's list of runs")
        return self._shown[name]

    def snapshot(self, name: str) -> Snapshot:
        """The newest state of a run."""
        return self.of(name).watched.newest()

    @contextmanager
    def held(self, name: str) -> Iterator[Snapshot]:
        """The newest state of a run, whose copy stays until this is left."""
        with self.of(name).watched.held() as snapshot:
            yield snapshot

    def document(self, name: str) -> tuple[Snapshot, Document]:
        """The run as last drawn; drawn anew only where it never was."""
        shown = self.of(name)
        if shown.drawn is not None:
            return shown.drawn
        with self._drawing:
            return shown.drawn or self._draw(name)

    def renew(self, name: str) -> None:
        """Begin to draw the newest state where it is not the one that was drawn, behind whoever asks for points."""
        shown, drawn = self.of(name), self.drawn(name)
        stale = drawn is None or drawn.stamp != self.snapshot(name).stamp
        if stale and time.monotonic() >= shown.next_drawing and self._drawing.acquire(blocking=False):
            threading.Thread(target=self._draw_behind, args=(name,), daemon=True).start()

    def drawn(self, name: str) -> Snapshot | None:
        """The state that was last drawn."""
        drawn = self.of(name).drawn
        return drawn[0] if drawn else None

    def points(self, name: str) -> list[dict[str, Any]]:
        """The measurements that were stored since the run was drawn, the newest `MAX_POINTS` of them."""
        drawn, now = self.document(name)[0].frames.measurements, self.snapshot(name).frames.measurements
        fresh = now.filter(pl.col("value").is_finite()).join(drawn, on=("curve", "stage", "step"), how="anti",
                                                             nulls_equal=True)  # fmt: skip
        stderr = pl.when(pl.col("stderr").is_finite()).then("stderr").alias("stderr")
        return fresh.sort("step").tail(MAX_POINTS).select("curve", "step", "value", stderr, "n").to_dicts()

    def followed(self, name: str, snapshot: Snapshot) -> str:
        """What is known so far of the events of a run that still grows, as HTML. Begins a look where one is due."""
        following = self.of(name).following
        following.look(snapshot.frames)
        return followed_html(following.told(snapshot.frames))

    def close(self) -> None:
        """Remove all copies and end what still looks for events."""
        for shown in self._shown.values():
            shown.close()

    def _draw_behind(self, name: str) -> None:
        try:
            self._draw(name)
        except DynamicsError as error:
            self.of(name).trouble = f"; {error}"
        finally:
            self._drawing.release()

    def _draw(self, name: str) -> tuple[Snapshot, Document]:
        shown, snapshot, begun = self.of(name), self.snapshot(name), time.monotonic()
        title = snapshot.frames.recipe_title() or name
        try:
            shown.drawn = (snapshot, compose(snapshot.frames, title))
            shown.trouble = ""
        except Exception as error:  # of any chart, on any store: its numbers can still be asked for and taken
            msg = f"cannot draw the run {name}: {type(error).__name__}: {error}; 'dynamics query' reads its numbers"
            raise DynamicsError(msg) from error
        finally:
            now = time.monotonic()
            shown.next_drawing = now + REST * (now - begun)
        return shown.drawn


def ago(seconds: float) -> str:
    """A time that has passed, in the unit that tells most.

    >>> ago(0.4), ago(75), ago(7300), ago(200_000)
    ('1 second', '1 minute', '2 hours', '2 days')
    """
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if (count := int(seconds // size)) or unit == "second":
            return f"{max(count, 1)} {unit}" + "s" * (count > 1)
    raise AssertionError
