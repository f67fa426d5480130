"""What the command line shows: progress bars with the time left on a terminal, plain lines in a pipe; tables or CSV."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import polars as pl
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from dynamics.sweep import Progress as SweepProgress
    from dynamics.sweep import Watch

DONE, SOME_FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130

out_console, err_console = Console(highlight=False), Console(stderr=True, highlight=False)


class Bars:
    """Progress bars on a terminal, plain lines in a pipe."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress, self.tasks, self.tenths = progress, {}, {}

    def update(self, name: str, done: int, total: int) -> None:
        if self.progress is None:
            tenth = done * 10 // total
            if self.tenths.get(name) != tenth:
                self.tenths[name] = tenth
                typer.echo(f"{name}: {done}/{total}", err=True)
            return
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, total=total)
        self.progress.update(self.tasks[name], completed=done)

    def say(self, text: str) -> None:
        err_console.print(text, markup=False, soft_wrap=True)


@contextmanager
def progress_bars() -> Iterator[Bars]:
    """What long work reports to; Ctrl-C in it ends the command with a word about what stays."""
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    try:
        if err_console.is_terminal:
            with Progress(*columns, console=err_console) as progress:
                yield Bars(progress)
        else:
            yield Bars(None)
    except KeyboardInterrupt:
        err_console.print("stopped; what is stored stays, and the same command goes on from there")
        sys.exit(INTERRUPTED)


def watching(bars: Bars) -> Watch:
    def watch(event: SweepProgress) -> None:
        bars.update(f"measure {event.checkpoint.series}", event.done, event.total)
        if event.status == "failed":
            bars.say(f"{event.checkpoint} failed: {event.note}")

    return watch


def print_table(frame: pl.DataFrame, title: str) -> None:
    if not out_console.is_terminal:
        nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
        as_text = [pl.Series(name, [None if v is None else str(v) for v in frame[name].to_list()]) for name in nested]
        typer.echo(frame.with_columns(as_text).write_csv(), nl=False)
        return
    table = Table(*frame.columns, title=title or None)
    for row in frame.iter_rows():
        table.add_row(*("" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
                        for value in row))  # fmt: skip
    out_console.print(table, markup=False)
