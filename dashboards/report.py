"""The report of a run: one HTML file that opens without a network, its figures, its tables, and report.md."""

from __future__ import annotations

from pathlib import Path

from dashboards.document import ARCHIVE, Document, compose, html, markdown
from dashboards.frames import read_frames
from dashboards.pictures import write_pictures
from dynamics.store import Store


def write_report(folder: str | Path, *, title: str | None = None, pictures: bool = True) -> Path:
    """Write report.html, report.md, events.csv, measurements.parquet and, unless told not to, `figures/`.

    The folder's store is only read. Returns the path of report.html. Raises UsageError where there is no store.
    """
    folder = Path(folder)
    frames = read_frames(folder)
    document = compose(frames, title or frames.recipe_title() or folder.resolve().name)
    if pictures:
        write_figures(folder / "figures", document)
    _write_tables(folder)
    (folder / "report.md").write_text(markdown(document), encoding="utf-8")
    page = folder / "report.html"
    page.write_text(html(document), encoding="utf-8")
    return page


def write_figures(folder: Path, document: Document) -> None:
    """The figures as files; what an earlier report left there goes."""
    folder.mkdir(exist_ok=True)
    for old in (*folder.glob("*.png"), *folder.glob("*.svg")):
        old.unlink()  # a figure of an earlier report that is no longer drawn must not be taken for one of this
    for figure, specification in zip(document.figures, document.specifications, strict=True):
        write_pictures(specification, folder, figure.name)


def _write_tables(folder: Path) -> None:
    """The tables as they are stored: in the report's own, long names are shortened."""
    with Store(folder, read_only=True) as store:
        store.export("events", folder / "events.csv")
        store.export("measurements", folder / ARCHIVE)
