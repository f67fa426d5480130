"""The command line. The only file that knows metrics, dynamics and dashboards alike.

Heavy packages are imported inside the commands that need them, so that `--help` and errors come at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from dynamics.errors import DynamicsError, UsageError, unknown
from dynamics.terminal import BAD_USAGE, DONE, SOME_FAILED, Bars, err_console, print_table, progress_bars, watching

if TYPE_CHECKING:
    from dynamics.run import Run

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Read a model's training history: when did an ability appear, how sure is that, what appeared with it.",
)

Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run.", show_default=False)]
Folder = Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]
Pdf = Annotated[bool, typer.Option("--pdf", help="report.pdf too, printed by this machine's Chromium or Chrome.")]
Where = Annotated[
    str, typer.Argument(help="A series: a public name, hub:ORG/REPO, folder:PATH or file:PATH.", show_default=False)
]


def main() -> None:
    """Run a command. Errors that a user can mend end with one message and no trace."""
    try:
        app()
    except UsageError as error:
        _fail(error, BAD_USAGE)
    except DynamicsError as error:
        _fail(error, SOME_FAILED)


def _fail(error: DynamicsError, code: int) -> None:
    err_console.print(f"error: {error}", markup=False, soft_wrap=True)
    sys.exit(code)


@app.command()
def demo(
    name: Annotated[str, typer.Argument(help="induction, grokking, superposition, parity or quanta.")] = "induction",
    out: Out = None,
) -> None:
    """Train a small model whose abilities emerge, measure its history, write the report. No network, two minutes.

    induction: a two-layer transformer and its one-layer control; grokking: modular addition; superposition: five
    features in two dimensions; parity: hidden progress; quanta: eight skills, the most frequent first.
    """
    from dynamics.carry_out import CHECKPOINTS
    from dynamics.gallery import INDUCTION, train_exhibit

    out = out or Path("runs") / ("demo" if name == INDUCTION else f"demo-{name}")
    with progress_bars() as bars:
        recipe = train_exhibit(name, out / CHECKPOINTS, lambda one, done, of: bars.update(f"train {one}", done, of))
        run = _carry_out(recipe, out, None, bars)
    _finish(run)


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as runs/modular-addition.toml.", show_default=False)],
    source: Annotated[str | None, typer.Option(help="Where the checkpoints are: folder:PATH.")] = None,
    out: Out = None,
) -> None:
    """Carry out a recipe: measure, detect, report. A second run measures only what is missing."""
    from dynamics.recipe import read_recipe

    content = read_recipe(recipe)
    with progress_bars() as bars:
        finished = _carry_out(content, out or Path("runs") / content.name, source, bars)
    _finish(finished)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe with a [train] table.", show_default=False)],
    out: Out = None,
    seeds: Annotated[str | None, typer.Option(help="0,1,2; by default those of the recipe.")] = None,
) -> None:
    """Train the small models that a recipe names and keep their histories, for 'dynamics run' to measure."""
    from dynamics.carry_out import CHECKPOINTS
    from dynamics.recipe import read_recipe, read_seeds
    from dynamics.training import train_recipe

    content = read_recipe(recipe)
    folder = (out or Path("runs") / content.name) / CHECKPOINTS
    chosen = None if seeds is None else read_seeds(seeds)
    with progress_bars() as bars:
        made = train_recipe(content, folder, seeds=chosen, on_step=lambda n, a, b: bars.update(f"train {n}", a, b))
    for path in made.values():
        typer.echo(str(path))


@app.command()
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
        finished = _carry_out(recipe, out, None, bars)
    sys.exit(_say_failures(finished))


@app.command("import")
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


@app.command()
def detect(
    folder: Folder,
    metric: Annotated[list[str] | None, typer.Option(help="Only this metric; may be given again.")] = None,
    fdr: Annotated[float, typer.Option(help="False-discovery rate over all curves.")] = 0.05,
    min_size: Annotated[
        float | None,
        typer.Option(help="Smallest change, in the metric's unit; by default 5 % of a bounded metric's span."),
    ] = None,
) -> None:
    """Find events in what is stored."""
    from dynamics.run import Run

    print_table(Run(folder).detect(metric, fdr=fdr, min_size=min_size), f"events in {folder}")


@app.command()
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


@app.command()
def show(folder: Folder) -> None:
    """Show a run in the terminal: what emerged, when, how sure, each with its curve; CSV in a pipe."""
    from dashboards.frames import read_frames
    from dashboards.terminal import overview, rows
    from dynamics.terminal import out_console

    frames = read_frames(folder)
    if out_console.is_terminal:
        out_console.print(overview(frames, out_console.width))
    else:
        print_table(rows(frames), "")


@app.command()
def report(folder: Folder, pdf: Pdf = False) -> None:
    """Write report.html, figures as PNG and SVG, events.csv and the measurements."""
    from dashboards.report import write_report

    _say_report(write_report(folder), pdf)


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the comparison.", show_default=False)],
    pdf: Pdf = False,
) -> None:
    """Write one report across runs: models, seeds, sizes."""
    from dashboards.compare import compare as write_comparison

    _say_report(write_comparison(folders, out), pdf)


@app.command()
def serve(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, or of several.", show_default=False)],
    port: int = 8765,
    host: Annotated[str, typer.Option(help="Address; another than loopback needs --public.")] = "127.0.0.1",
    public: Annotated[bool, typer.Option("--public", help="Answer beyond this machine, to who has the token.")] = False,
) -> None:
    """Show a run in a browser while it measures."""
    from dashboards.page.app import serve as serve_page

    serve_page(folder, port, host=host, public=public, announce=lambda address: typer.echo(f"open {address}"))


@app.command()
def query(
    folder: Folder,
    sql: Annotated[str, typer.Argument(help="SQL over series, checkpoints, curves, events ...", show_default=False)],
) -> None:
    """Ask the store in SQL: a table on a terminal, CSV in a pipe."""
    from dynamics.run import Run

    print_table(Run(folder).query(sql), "")


@app.command()
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
        err_console.print(f"{len(opened.ignored)} names were not taken for checkpoints: {shown}", soft_wrap=True)
    for note in opened.notes:
        err_console.print(f"note: {note}", soft_wrap=True)
    err_console.print(f"{len(table)} checkpoints, {len(bad)} with a problem")
    sys.exit(SOME_FAILED if len(bad) else DONE)


@app.command("list")
def list_names(
    what: Annotated[str, typer.Argument(help="series, sources, metrics, tasks or charts", show_default=False)],
    model: Annotated[str | None, typer.Option(help="For metrics: a series, to say what it has and which way.")] = None,
) -> None:
    """Show what there is to choose from."""
    from dynamics import listing

    tables = {"series": listing.series, "sources": listing.sources, "metrics": listing.metrics,
              "tasks": listing.tasks, "charts": _charts}  # fmt: skip
    if what not in tables:
        raise unknown(what, tables, kind="list", listed_by="dynamics list --help")
    print_table(listing.metrics(model) if model and what == "metrics" else tables[what](), "")


def _say_report(page: Path, pdf: bool) -> None:
    typer.echo(str(page))
    if pdf:
        from dashboards.printing import write_pdf

        typer.echo(str(write_pdf(page)))


def _carry_out(recipe: Any, out: Path, source: str | None, bars: Bars) -> Run:
    from dynamics.carry_out import carry_out

    return carry_out(recipe, out=out, source=source, watch=watching(bars))


def _finish(run: Run) -> None:
    from dashboards.frames import read_frames
    from dashboards.report import write_report
    from dashboards.summary import summarise

    path = write_report(run.folder)
    summary = summarise(read_frames(run.folder))
    if summary.lead:
        typer.echo(summary.lead)
    for remark in summary.headlines:
        typer.echo(f"{remark.about}: {remark.text}")
    typer.echo(f"report: {path}")
    sys.exit(_say_failures(run))


def _say_failures(run: Run) -> int:
    failed = run.failed()
    if failed.is_empty():
        return DONE
    steps = ", ".join(f"{row['series']} step {row['step']}" for row in failed.head(5).iter_rows(named=True))
    more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
    plural = "s" if len(failed) > 1 else ""
    typer.echo(f"{len(failed)} checkpoint{plural} failed: {steps}{more}; table 'checkpoints' says why", err=True)
    return SOME_FAILED


def _charts() -> pl.DataFrame:
    from dashboards.charts import load_charts

    charts = load_charts().values()
    return pl.DataFrame({"chart": [chart.name for chart in charts], "title": [chart.title for chart in charts]})
