"""Charts: each file beside this one holds one, a function from a run's frames to an Altair chart.

Adding one is one file: decorate the function with `@chart` and say which metrics it needs. Its `description` is
the caption that the report prints; conditions (task, n, seed) are added there for every chart alike. Give channels as
objects, `alt.Detail("curve:N")`: what one of text stands for Altair finds by reading its whole schema each time.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import altair as alt

from dashboards.frames import Frames
from dashboards.theme import Drawing
from dashboards.wording import join
from dynamics.errors import UsageError, unknown


@dataclass(frozen=True)
class Chart:
    """A registered chart.

    `needs` are metrics that must be there. `axes` asks for one drawing for every metric with such axes, or with
    `together` for one drawing of all of them; a `fallback` leaves out those that a chart with `needs` draws.
    """

    name: str
    title: str
    draw: Callable[..., Drawing]
    needs: tuple[str, ...] = ()
    also: tuple[str, ...] = ()  # drawn too where they are there
    axes: tuple[str, ...] | None = None
    order: int = 50  # place in the report, small first
    fallback: bool = False
    together: bool = False
    asked: bool = False  # drawn by name, or by a comparison, and not in a run's own report


@dataclass(frozen=True)
class Figure:
    """One drawing in a report: `name` is also its file name."""

    name: str
    title: str
    drawing: Drawing
    metrics: tuple[str, ...]

    def specification(self, *, check: bool = False) -> dict[str, Any]:
        """The Vega-Lite specification with its data. Altair's own limit of 5,000 rows is for notebooks of long ago.

        It is held against Vega-Lite's schema where a test asks for that: it takes longer than all else of a drawing.
        """
        with alt.data_transformers.enable("default", max_rows=None):
            return self.drawing.to_dict(validate=check)


CHARTS: dict[str, Chart] = {}


def chart(title: str, **settings: Any) -> Callable[[Callable[..., Drawing]], Callable[..., Drawing]]:
    """Register a function as a chart under its own name, with the settings of `Chart`.

    The function takes `(frames)`; with `axes` it takes `(frames, metric)`, and with `together` `(frames, metrics)`.
    It may return None when there is nothing to show.
    """

    def register(draw: Callable[..., Drawing]) -> Callable[..., Drawing]:
        name = draw.__name__
        if name in CHARTS and CHARTS[name].draw.__module__ != draw.__module__:
            msg = f"two charts are named {name!r}: {CHARTS[name].draw.__module__} and {draw.__module__}; rename one"
            raise ValueError(msg)
        CHARTS[name] = Chart(name, title, draw, **settings)
        return draw

    return register


def load_charts() -> dict[str, Chart]:
    """Import every file beside this one; the charts by name, in the order of the report."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(CHARTS.items(), key=lambda item: (item[1].order, item[0])))


def draw_figures(frames: Frames) -> list[Figure]:
    """Every chart that this run has the metrics for."""
    charts, present = load_charts(), set(frames.names())
    drawn = {name for entry in charts.values() if set(entry.needs) <= present for name in (*entry.needs, *entry.also)}
    ready = [entry for entry in charts.values() if set(entry.needs) <= present and not entry.asked]
    return [figure for entry in ready for figure in _draw(entry, frames, drawn)]


def draw_chart(frames: Frames, name: str, metric: str | None = None) -> Figure:
    """The chart of this name; where it draws one metric at a time, that of `metric` or of the first it can draw.

    Raises UsageError where there is no such chart, or where this run does not have what it needs.
    """
    charts, present = load_charts(), frames.names()
    if name not in charts:
        raise unknown(name, charts, kind="chart", listed_by="dynamics list charts")
    entry = charts[name]
    missing = [needed for needed in entry.needs if needed not in present]
    figures = iter(()) if missing else _draw(entry, frames, set(), metric)
    if (found := next(figures, None)) is not None:
        return found
    others = {} if missing else dict.fromkeys(m for figure in _draw(entry, frames, set()) for m in figure.metrics)
    if others:
        raise unknown(metric or "", others, kind=f"metric for the chart {name!r}", listed_by="Run.measurements")
    needed = join(missing) if missing else "measurements of another extent than there are in the store"
    msg = f"the chart {name!r} needs {needed}; this run has measured {join(present) or 'nothing'}"
    raise UsageError(msg)


def _draw(entry: Chart, frames: Frames, drawn: set[str], only: str | None = None) -> Iterator[Figure]:
    """The figures of one chart, drawn as they are asked for, that have something to show; of one metric, if named."""
    for name, title, arguments, metrics in _drawings(entry, frames, drawn):
        if only is None or only in metrics:
            drawing = entry.draw(frames, *arguments)
            if drawing is not None:
                yield Figure(name, title, drawing, metrics)


def _drawings(entry: Chart, frames: Frames, drawn: set[str]) -> list[tuple[str, str, tuple[Any, ...], tuple[str, ...]]]:
    """Of each of a chart's figures its name, its title, what the chart takes beside the frames, and its metrics."""
    if entry.axes is None:
        return [(entry.name, entry.title, (), _present(entry, frames))]
    wanted = [name for axes in entry.axes for name in frames.names(axes) if not (entry.fallback and name in drawn)]
    if entry.together:
        return [(entry.name, entry.title, (tuple(wanted),), tuple(wanted))] if wanted else []
    return [
        (f"{entry.name}_{_file_name(name)}", f"{frames.title(name)}: {entry.title}", (name,), (name,))
        for name in wanted
    ]


def _file_name(metric: str) -> str:
    """A metric's name as part of a file's: whatever the store says, no folder is left and no link is broken.

    >>> _file_name("loss"), _file_name("loss at 1/2"), _file_name("loss at 1.2")
    ('loss', 'loss-at-1-2-e189', 'loss-at-1-2-4800')
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", metric)[:60]
    return plain if plain == metric else f"{plain[:55]}-{hashlib.sha256(metric.encode()).hexdigest()[:4]}"


def _present(entry: Chart, frames: Frames) -> tuple[str, ...]:
    names = frames.names()
    return tuple(name for name in (*entry.needs, *entry.also) if name in names)
