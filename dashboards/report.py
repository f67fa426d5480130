"""The report of a run: one HTML file that opens without a network, its figures, its tables, and report.md.

Everything in a store is untrusted text (a series is named by whoever trained it), so the HTML template escapes
whatever it prints; the specifications are JSON in which no character can end their script element.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from dashboards import theme
from dashboards.charts import Figure, draw_figures
from dashboards.conditions import conditions
from dashboards.frames import Frames, read_frames
from dashboards.pictures import inline_json, packed, vega_script, write_pictures
from dashboards.provenance import facts, gaps, provenance
from dashboards.sparkline import sparkline
from dashboards.summary import summarise

TEMPLATES = Path(__file__).parent / "templates"
ARCHIVE = "measurements.parquet"
MAX_FINDINGS = 40
MAX_GAPS = 100
HOW_TO_READ = (
    "A change is reported where a curve moves faster, over log training steps, than gradual learning would; its "
    "midpoint is where it is half-way, with a 95 % interval. p is the probability of a change this clear in a curve "
    "without one; q is p corrected for the number of curves looked at in this run. One change before another does not "
    "make it a cause."
)


def write_report(folder: str | Path, *, title: str | None = None, pictures: bool = True) -> Path:
    """Write report.html, report.md, events.csv, measurements.parquet and, unless told not to, `figures/`.

    The folder's store is only read. Returns the path of report.html. Raises UsageError where there is no store.
    """
    folder = Path(folder)
    frames = read_frames(folder)
    figures = draw_figures(frames)
    specs = [figure.specification() for figure in figures]
    if pictures:
        _write_figures(folder / "figures", figures, specs)
    _write_tables(folder, frames)
    context = _context(frames, figures, specs, title or str(frames.recipe().get("title") or folder.resolve().name))
    (folder / "report.md").write_text(_markdown().get_template("report.md").render(context), encoding="utf-8")
    page = folder / "report.html"
    page.write_text(_html().get_template("report.html").render(context, **_scripts(frames, specs)), encoding="utf-8")
    return page


def _context(frames: Frames, figures: list[Figure], specs: list[dict[str, Any]], title: str) -> dict[str, Any]:
    summary, missing = summarise(frames), gaps(frames)
    shown = summary.findings[:MAX_FINDINGS]
    drawn = {metric for figure in figures for metric in figure.metrics}
    undrawn = [frames.title(metric) for metric in frames.names() if metric not in drawn]
    return {
        "title": theme.shorten(title, 200),
        "description": theme.shorten(str(frames.recipe().get("description") or ""), 3000),
        "facts": facts(frames),
        "summary": summary,
        "findings": [(finding, sparkline(frames, finding.strongest)) for finding in shown],
        "hidden_findings": len(summary.findings) - len(shown),
        "many_series": len(frames.series_names()) > 1,
        "how_to_read": HOW_TO_READ.replace("95 %", theme.P95),
        "figures": [
            {"name": figure.name, "title": figure.title,
             "caption": spec.get("description", "").replace("95 %", theme.P95),
             "conditions": conditions(frames, figure.metrics)}
            for figure, spec in zip(figures, specs, strict=True)
        ],
        "undrawn": ", ".join(undrawn[:30]),
        "archive": ARCHIVE,
        "gaps": missing[:MAX_GAPS],
        "hidden_gaps": max(len(missing) - MAX_GAPS, 0),
        "provenance": provenance(frames),
    }  # fmt: skip


def _scripts(frames: Frames, specs: list[dict[str, Any]]) -> dict[str, str]:
    payload = {
        "figures": [packed(spec) for spec in specs],
        "light": theme.config(),
        "dark": theme.config(dark=True),
        "tokens": frames.tokens_per_step(),
    }
    return {
        "specifications": inline_json(payload),
        "vega": vega_script(),
        "script": (TEMPLATES / "report.js").read_text(encoding="utf-8"),
        "style": (TEMPLATES / "report.css").read_text(encoding="utf-8"),
    }


def _write_figures(folder: Path, figures: list[Figure], specs: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    for old in (*folder.glob("*.png"), *folder.glob("*.svg")):
        old.unlink()  # a figure of an earlier report that is no longer drawn must not be taken for one of this
    for figure, spec in zip(figures, specs, strict=True):
        write_pictures(spec, folder, figure.name)


def _write_tables(folder: Path, frames: Frames) -> None:
    frames.events.drop("place", "curve").write_csv(folder / "events.csv")
    shown = frames.measurements.drop("place", "curve").filter(
        pl.col("run_id").is_not_null() | pl.col("value").is_not_null()
    )
    shown.write_parquet(folder / ARCHIVE)


def _html() -> jinja2.Environment:
    return _environment(autoescape=True)


def _markdown() -> jinja2.Environment:
    environment = _environment(autoescape=False)
    environment.filters.update(md=escape_markdown, fenced=lambda text: str(text).replace("```", "'''"))
    return environment


def _environment(*, autoescape: bool) -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=autoescape, trim_blocks=True, lstrip_blocks=True,
                                     undefined=jinja2.StrictUndefined)  # fmt: skip
    environment.filters.update(number=theme.number, step=theme.step, probability=theme.probability)
    return environment


def escape_markdown(text: object) -> str:
    """Text that Markdown shows as it is: nothing becomes a tag, a link, an emphasis, a table cell or a new line."""
    flat = " ".join(str(text).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#!~])", r"\\\1", flat)
