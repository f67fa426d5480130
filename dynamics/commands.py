"""Commands that read, measure and ask, and draw nothing.

Heavy packages are imported inside the commands that need them, so that `--help` and errors come at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from dynamics.errors import UsageError
from dynamics.terminal import DONE, SOME_FAILED, Bars, err_console, print_table, progress_bars, watching

if TYPE_CHECKING:
    from dynamics.run import Run

Folder = Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]
Where = Annotated[
    str, typer.Argument(help="A series: a public name, hub:ORG/REPO, folder:PATH or file:PATH.", show_default=False)
]


def measure(
    series: Where,
    metrics: Annotated[str, typer.Option(help="Names, separated by commas.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the run.", show_default=False)],
    steps: Annotated[str, typer.Option(help="all, log:40, every:5, 0,512,1000.., 1000..20000, adaptive")] = "all",
    budget: Annotated[int, typer.Option(help="Checkpoints that --steps adaptive may measure.", min=8)] = 30,
    include_defective: Annotated[
        bool, typer.Option("--include-defective", help="Measure checkpoints that are known to be wrong, too.")
    ] = False,
    disk_budget: Annotated[str | None, typer.Option(help="What downloads may take, such as 20GB.")] = None,
    text: Annotated[str | None, typer.Option(help="A UTF-8 file, .jsonl, .parquet or hf:ORG/NAME to read.")] = None,
    stderr: Annotated[float | None, typer.Option(help="As many examples as this standard error takes: 0.01.")] = None,
    trust_remote_code: Annotated[bool, typer.Option(help="Run the code that checkpoints bring along.")] = False,
    device: str = "cpu",
    dtype: str = "float32",
    device_map: Annotated[str | None, typer.Option(help="Where layers wait: auto, disk, cpu, JSON by layer.")] = None,
) -> None:
    """Measure metrics over a series into a store, and no more."""
    from dynamics.recipe import Recipe, SeriesEntry
    from dynamics.sizing import settings_of_all

    recipe = Recipe(
        name="measure",
        series=(SeriesEntry(source=series),),
        steps=steps,
        budget=budget,
        include_defective=include_defective,
        disk_budget=disk_budget,
        metrics=tuple(name.strip() for name in metrics.split(",") if name.strip()),
        tasks=settings_of_all(text=text, stderr=stderr),
        device=device,
        dtype=dtype,
        device_map=device_map,
        trust_remote_code=trust_remote_code,
    )
    with progress_bars() as bars:
        finished = carry_out_recipe(recipe, out, None, bars)
    sys.exit(say_failures(finished))


def import_file(
    path: Annotated[Path, typer.Argument(help="CSV, Parquet, harness JSON or trainer_state.json.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the run.", show_default=False)],
    series: Annotated[str | None, typer.Option(help="The history's name, where the file has none.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Metrics by pattern, lambada_*_acc; may be repeated.")] = None,
) -> None:
    """Take in results that others measured, for events and reports."""
    from dynamics.importing import import_results
    from dynamics.store import Store

    with Store(out) as store:
        rows = import_results(path, store, series=series, only=tuple(only or ()))
    series_count, metrics = rows["series"].n_unique(), rows["metric"].n_unique()
    typer.echo(f"{len(rows)} measurements of {metrics} metrics over {series_count} series are in {out}")


def detect(
    folder: Folder,
    metric: Annotated[list[str] | None, typer.Option(help="Only this metric; may be given again.")] = None,
    fdr: Annotated[float, typer.Option(help="False-discovery rate over all curves.")] = 0.05,
    min_size: Annotated[
        float | None,
        typer.Option(help="Smallest change, in the metric's unit; by default 3 % of a bounded metric's span."),
    ] = None,
) -> None:
    """Find events in what is stored."""
    from dynamics.run import Run

    print_table(Run(folder).detect(metric, fdr=fdr, min_size=min_size), f"events in {folder}")


def monogenic(
    folder: Folder,
    metric: Annotated[str | None, typer.Option(help="A metric; by default those of single skills.")] = None,
    plateau: Annotated[float, typer.Option(help="How far the values of a plateau may lie apart.")] = 0.7,
    drop: Annotated[float, typer.Option(help="How far the second plateau lies below the first, at least.")] = 2.0,
) -> None:
    """Say which curves fall once, from one plateau to another, and which by degrees (Michaud et al. 2023)."""
    from dynamics.monogenic import SKILLS, skills
    from dynamics.monogenic import monogenic as tell
    from dynamics.run import Run

    curves = Run(folder).measurements()
    if metric is None:
        table, wanted = skills(curves), ", ".join(SKILLS)
    else:
        table, wanted = tell(curves.filter(pl.col("metric") == metric), plateau=plateau, drop=drop), metric
    if table.is_empty():
        msg = f"{folder} has no measurements of {wanted}; name one that it has with '--metric'"
        raise UsageError(msg)
    print_table(table, f"curves in {folder}")


def query(
    folder: Folder,
    sql: Annotated[str, typer.Argument(help="SQL over series, checkpoints, curves, events ...", show_default=False)],
) -> None:
    """Ask the store in SQL: a table on a terminal, CSV in a pipe."""
    from dynamics.run import Run

    print_table(Run(folder).query(sql), "")


def audit(series: Where) -> None:
    """Say what is wrong with a history: checkpoints that are missing, unreadable or copies of others."""
    from dynamics.audit import audit as audit_series
    from dynamics.sources import open_series

    opened = open_series(series, include_defective=True, trust_remote_code=True)  # none is run: only tensors are read
    with progress_bars() as bars:
        total = len(opened.checkpoints)
        done = iter(range(1, total + 1))
        table = audit_series(opened, lambda _: bars.update(f"audit {opened.name}", next(done), total))
    print_table(table.with_columns(pl.col("weights_sha").str.slice(0, 12)), opened.name)
    bad = table.filter(pl.col("problem") != "")
    if opened.ignored:
        shown = ", ".join(opened.ignored[:8]) + (" ..." if len(opened.ignored) > 8 else "")
        count = f"{len(opened.ignored)} name{'s were' if len(opened.ignored) > 1 else ' was'}"
        err_console.print(f"{count} not taken for checkpoints: {shown}", markup=False, soft_wrap=True)
    for note in opened.notes:
        err_console.print(f"note: {note}", markup=False, soft_wrap=True)
    err_console.print(f"{len(table)} checkpoints, {len(bad)} with a problem")
    sys.exit(SOME_FAILED if len(bad) else DONE)


def carry_out_recipe(recipe: Any, out: Path, source: str | None, bars: Bars) -> Run:
    """Measure and detect, with the progress on the terminal."""
    from dynamics.carry_out import carry_out

    return carry_out(recipe, out=out, source=source, watch=watching(bars))


def say_failures(run: Run) -> int:
    """Name the checkpoints that failed; returns the exit code."""
    failed = run.failed()
    if failed.is_empty():
        return DONE
    steps = ", ".join(f"{row['series']} step {row['step']}" for row in failed.head(5).iter_rows(named=True))
    more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
    plural = "s" if len(failed) > 1 else ""
    typer.echo(f"{len(failed)} checkpoint{plural} failed: {steps}{more}; table 'checkpoints' says why", err=True)
    return SOME_FAILED
