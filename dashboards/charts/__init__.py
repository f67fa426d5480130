"""Charts: each file beside this one holds one, a function from a run's frames to an Altair chart.

Adding one is one file: decorate the function with `@chart` and say which metrics it needs. Its `description` is
the caption that the report prints; conditions (task, n, seed) are added there for every chart alike.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dashboards.frames import Frames

# Altair's composition classes share no public type with its charts that has `properties` and `to_dict`.
Drawing = Any


@dataclass(frozen=True)
class Chart:
    """A registered chart. `needs` are metrics that must be there; `axes` asks for one drawing per such metric."""

    name: str
    title: str
    draw: Callable[..., Drawing]
    needs: tuple[str, ...] = ()
    axes: str | None = None
    order: int = 50  # place in the report, small first


@dataclass(frozen=True)
class Figure:
    """One drawing in a report: `name` is also its file name."""

    name: str
    title: str
    drawing: Drawing
    metrics: tuple[str, ...]

    @property
    def caption(self) -> str:
        """What the chart says about itself."""
        return str(self.drawing.to_dict(validate=False).get("description", ""))


CHARTS: dict[str, Chart] = {}


def chart(
    title: str, *, needs: tuple[str, ...] = (), axes: str | None = None, order: int = 50
) -> Callable[[Callable[..., Drawing]], Callable[..., Drawing]]:
    """Register a function as a chart under its own name.

    With `axes`, the function takes `(frames, metric)` and is drawn for every metric with these axes; otherwise it
    takes `(frames)`. It may return None when there is nothing to show.
    """

    def register(draw: Callable[..., Drawing]) -> Callable[..., Drawing]:
        name = draw.__name__
        if name in CHARTS and CHARTS[name].draw.__module__ != draw.__module__:
            msg = f"two charts are named {name!r}: {CHARTS[name].draw.__module__} and {draw.__module__}; rename one"
            raise ValueError(msg)
        CHARTS[name] = Chart(name, title, draw, needs, axes, order)
        return draw

    return register


def load_charts() -> dict[str, Chart]:
    """Import every file beside this one; the charts by name, in the order of the report."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(CHARTS.items(), key=lambda item: (item[1].order, item[0])))


def draw_figures(frames: Frames) -> list[Figure]:
    """Every chart that this run has the metrics for."""
    figures: list[Figure] = []
    present = set(frames.names())
    for entry in load_charts().values():
        if not set(entry.needs) <= present:
            continue
        if entry.axes is None:
            drawing = entry.draw(frames)
            found = [Figure(entry.name, entry.title, drawing, entry.needs)]
        else:
            metrics = frames.names(entry.axes)
            found = [
                Figure(f"{entry.name}_{metric}", f"{frames.title(metric)}: {entry.title}", entry.draw(frames, metric),
                       (metric,))
                for metric in metrics
            ]  # fmt: skip
        figures += [figure for figure in found if figure.drawing is not None]
    return figures
