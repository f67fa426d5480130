"""A run as one document: the words, figures and tables of its report, as an HTML page or as Markdown.

Everything in a store is untrusted text (a series is named by whoever trained it), so the HTML template escapes
whatever it prints; the specifications are JSON in which no character can end their script element.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2

from dashboards import across, theme
from dashboards.abilities import ability_tables
from dashboards.agreement import as_gathered, steps_table
from dashboards.chances import chance_table
from dashboards.charts import Figure, draw_figures
from dashboards.conditions import conditions
from dashboards.frames import Frames
from dashboards.glossary import question, words
from dashboards.moments import CAUTION
from dashboards.pictures import inline_json, packed, vega_script
from dashboards.provenance import facts, gaps, provenance, reduced
from dashboards.published import published_table
from dashboards.skills import skill_tables
from dashboards.sparkline import sparkline
from dashboards.stages import tokens_seen
from dashboards.stages import told as stages_told
from dashboards.summary import Finding, summarise
from dashboards.wording import change, count

TEMPLATES = Path(__file__).parent / "templates"
ARCHIVE = "measurements.parquet"
MAX_FINDINGS = 40
MAX_SHOWN = 8  # changes in the open table; the others are folded away below it
MAX_GAPS = 100
HOW_TO_READ = (
    "A change is reported where a curve moves faster, over log training steps, than gradual learning would. Midpoint: "
    "where it is half-way. q: the share of false alarms to expect among changes at least this clear, p (in events.csv) "
    "corrected for all curves that were looked at. What comes first is not therefore a cause."
)


@dataclass(frozen=True)
class Document:
    """What a report says (`words`, for the templates) and draws (`specifications`, one a figure)."""

    words: dict[str, Any]
    figures: list[Figure]
    specifications: list[dict[str, Any]]
    tokens: float | list[list[int]] | None  # seen in one step, or steps with the tokens seen at each

    def payload(self) -> dict[str, Any]:
        """What the page's script draws from."""
        return {
            "figures": [{**packed(spec), "usermeta": {**spec.get("usermeta", {}), "name": figure.name}}
                        for figure, spec in zip(self.figures, self.specifications, strict=True)],
            "light": theme.config(),
            "dark": theme.config(dark=True),
            "tokens": self.tokens,
        }  # fmt: skip


def compose(frames: Frames, title: str, figures: list[Figure] | None = None) -> Document:
    """Draw and describe a run; with `figures`, those instead of all that its metrics allow."""
    figures = draw_figures(frames) if figures is None else figures
    specs = [figure.specification() for figure in figures]
    tokens = frames.tokens_per_step() or tokens_seen(frames.checkpoints)
    return Document(_words(frames, figures, specs, title), figures, specs, tokens)


def _words(frames: Frames, figures: list[Figure], specs: list[dict[str, Any]], title: str) -> dict[str, Any]:
    summary, missing = summarise(frames), gaps(frames)
    shown = sorted(summary.findings, key=lambda finding: not finding.large)[:MAX_FINDINGS]
    drawn = {metric for figure in figures for metric in figure.metrics}
    undrawn = [frames.title(metric) for metric in frames.names() if metric not in drawn]
    return {
        "title": theme.shorten(title, 200),
        "description": theme.shorten(str(frames.recipe().get("description") or ""), 3000),
        "facts": facts(frames),
        "summary": summary,
        "findings": shown,
        **_tables(frames, shown),
        "across": across.is_many(frames),
        "hidden_findings": len(summary.findings) - len(shown),
        "comparison": _comparison(frames),
        "many_series": len(frames.series_names()) > 1,
        "caution": CAUTION,
        "words": words(frames),
        "how_to_read": " ".join([HOW_TO_READ, stages_told(frames.checkpoints)]).strip(),
        "figures": [
            {"name": figure.name, "title": figure.title,
             "caption": spec.get("description", "").replace("95 %", theme.P95),
             "question": question(frames, figure.metrics), "conditions": conditions(frames, figure.metrics)}
            for figure, spec in zip(figures, specs, strict=True)
        ],
        "undrawn": ", ".join(undrawn[:30]),
        "reduced": reduced(frames),
        "archive": ARCHIVE,
        "gaps": missing[:MAX_GAPS],
        "hidden_gaps": max(len(missing) - MAX_GAPS, 0),
        "provenance": provenance(frames),
    }  # fmt: skip


def _comparison(frames: Frames) -> dict[str, Any] | None:
    """Tables that hold a run beside what was published, its models beside each other and beside guessing, its seeds
    beside each other, and its single skills.
    """
    gathered = as_gathered(frames)
    seeds = [steps_table(gathered, group) for group in gathered.group_names() if len(gathered.seeds(group)) > 1]
    abilities = ability_tables(frames) if across.is_many(frames) else []
    told = [published_table(frames), *abilities, chance_table(frames), *seeds, *skill_tables(frames)]
    tables = [table for table in told if table is not None and table.rows]
    return {"tables": tables, "cautions": []} if tables else None


def _tables(frames: Frames, findings: list[Finding]) -> dict[str, Any]:
    """The findings as rows of the open table and of those folded away, each with its curve."""
    large = [finding for finding in findings if finding.large]
    lasting = [finding for finding in large if finding.strongest["kind"] != "spike"]
    largest = sorted(lasting, key=lambda finding: -(finding.strongest["share"] or 0))[:MAX_SHOWN]
    first = [] if across.is_many(frames) else [finding for finding in large if finding in largest]
    rest = [finding for finding in large if finding not in first]
    small = [finding for finding in findings if not finding.large]
    told = f"{count(len(rest), 'large change')}, series by series" if across.is_many(frames) else (
        count(len(rest), "more change"))  # fmt: skip
    titles = {
        told: rest,
        f"{count(len(small), 'small change')}, each less than a tenth of its metric's range": small,
    }
    drawn = {title: [(finding, sparkline(frames, finding.strongest)) for finding in some]
             for title, some in {"": first, **titles}.items()}  # fmt: skip
    folds = [{"title": title, "rows": rows} for title, rows in drawn.items() if title and rows]
    return {"shown": drawn[""], "folded": folds}


def html(document: Document, *, live: str = "", tables: Sequence[str] = ()) -> str:
    """The page; with `live`, the stamp of the state it shows, one that follows the run through its server.

    `tables` are those that this server offers.
    """
    scripts = [vega_script(), _asset("fitting.js"), _asset("report.js"), *([_asset("live.js")] if live else [])]
    return (
        _environment(escape=True)
        .get_template("report.html")
        .render(
            document.words,
            live=live,
            tables=tables,
            specifications=inline_json(document.payload()),
            scripts=scripts,
            style=_asset("report.css"),
        )
    )


def sections(document: Document) -> dict[str, str]:
    """The parts of the page that change while a run goes on, each as HTML, for a page that is open."""
    template = _environment(escape=True).get_template("report.html")
    context = template.new_context({**document.words, "live": "followed"})
    return {name: "".join(draw(context)) for name, draw in template.blocks.items()}


def followed_html(told: dict[str, Any]) -> str:
    """The events of a run that still grows; nothing as long as there is nothing to tell."""
    template = _environment(escape=True).get_template("followed.html")
    return template.render(told) if told["rows"] or told["failed"] else ""


def markdown(document: Document) -> str:
    """The same as Markdown, for a pull request or an appendix."""
    return _environment(escape=False).get_template("report.md").render(document.words)


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@lru_cache(maxsize=2)
def _environment(*, escape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=escape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(number=theme.number, step=theme.step, probability=theme.probability, change=change)
    environment.filters.update(capital=lambda text: text[:1].upper() + text[1:], bare_probability=_bare_probability)
    environment.filters["stacked"] = stacked
    environment.filters.update(md=escape_markdown, fenced=lambda text: str(text).replace("```", "'''"))
    return environment


def _bare_probability(value: float | None) -> str:
    return theme.probability(value).removeprefix("=\u00a0")


def stacked(cell: str) -> str:
    """A number's interval on a line of its own, and no range broken, so that tables of many columns fit the page.

    >>> stacked("509 (256–1,000)").replace("\u2060", ""), stacked("two-layer (demo)"), stacked("0.4–0.7")
    ('509\\n(256–1,000)', 'two-layer (demo)', '0.4\u2060–\u20600.7')
    """
    lines = re.sub(r" \((\d[^)]*)\)", r"\n(\1)", cell)
    return re.sub(r"(?<=\d)–(?=\d)", "\u2060–\u2060", lines)


def escape_markdown(text: object) -> str:
    """Text that Markdown shows as it is: nothing becomes a tag, a link, an emphasis, a table cell or a new line."""
    flat = " ".join(str(text).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#!~])", r"\\\1", flat)
