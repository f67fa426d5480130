"""The command line. The only file that knows metrics, dynamics and dashboards alike.

Heavy packages are imported inside the commands that need them, so that `--help` and errors come at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
import typer

from dynamics import commands
from dynamics.errors import DynamicsError, UsageError, unknown
from dynamics.terminal import BAD_USAGE, SOME_FAILED, err_console, out_console, print_table, progress_bars

if TYPE_CHECKING:
    from dynamics.run import Run

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Read a model's training history: when did an ability appear, how sure is that, what appeared with it.",
)

Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run.", show_default=False)]
Pdf = Annotated[bool, typer.Option("--pdf", help="report.pdf too, printed by this machine's Chromium or Chrome.")]


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
        run = commands.carry_out_recipe(recipe, out, None, bars)
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
        finished = commands.carry_out_recipe(content, out or Path("runs") / content.name, source, bars)
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


app.command()(commands.measure)
app.command("import")(commands.import_file)
app.command()(commands.detect)
app.command()(commands.monogenic)


@app.command()
def show(folder: commands.Folder) -> None:
    """Show a run in the terminal: what emerged, when, how sure, each with its curve; CSV in a pipe."""
    from dashboards.frames import read_frames
    from dashboards.terminal import overview, rows

    frames = read_frames(folder)
    if out_console.is_terminal:
        out_console.print(overview(frames, out_console.width))
    else:
        print_table(rows(frames), "")


@app.command()
def report(folder: commands.Folder, pdf: Pdf = False) -> None:
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


app.command()(commands.query)
app.command()(commands.audit)


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
    if what == "series" and out_console.is_terminal:
        print_table(listing.series_by_rule(), "")
        out_console.print("{a, b} stands for one of them; 'dynamics list series | cat' has every name on a line")
        return
    print_table(listing.metrics(model) if model and what == "metrics" else tables[what](), "")


def _say_report(page: Path, pdf: bool) -> None:
    typer.echo(str(page))
    if pdf:
        from dashboards.printing import write_pdf

        typer.echo(str(write_pdf(page)))


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
    sys.exit(commands.say_failures(run))


def _charts() -> pl.DataFrame:
    from dashboards.charts import load_charts

    charts = load_charts().values()
    return pl.DataFrame({"chart": [chart.name for chart in charts], "title": [chart.title for chart in charts]})
