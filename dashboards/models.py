"""The series of a run as models side by side: their order, their colours, the legend that shows and hides them."""

from __future__ import annotations

import re
from typing import Any

import altair as alt
import polars as pl

from dashboards.frames import Frames

COLOURS = 7  # that readers tell apart; more series are coloured along a ramp, small models first
COLUMNS = 5  # of a legend
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9}


def by_size(frames: Frames) -> list[str]:
    """The series, small models first; their own order where sizes are neither stored nor in their names."""
    names = frames.series_names()
    return sorted(names, key=lambda name: (size_of(frames, name), names.index(name) if not size_in(name) else 0, name))


def size_of(frames: Frames, name: str) -> float:
    """The number of parameters that is stored for a series or told by its name, or 0."""
    stored = frames.series.filter(pl.col("series") == name)["n_params"].drop_nulls()
    return float(stored[0]) if len(stored) and stored[0] else size_in(name)


def size_in(name: str) -> float:
    """The number of parameters that a name tells, or 0.

    >>> size_in("pythia-1.4b-deduped"), size_in("pythia-70m"), size_in("two-layer")
    (1400000000.0, 70000000.0, 0.0)
    """
    found = re.search(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([kmb])(?![a-z0-9])", name.lower())
    return float(found[1]) * _UNITS[found[2]] if found else 0.0


def order(frames: Frames) -> list[str]:
    """The series as a legend lists them: few as elsewhere, many by size, for then colour is a ramp."""
    names = frames.series_names()
    return names if len(names) <= COLOURS else by_size(frames)


def colour(names: list[str], field: str = "series") -> alt.Color:
    """One colour a name, with a legend where there are several."""
    columns = min(len(names), COLUMNS)  # stated, so that a narrow page can have fewer
    legend = alt.Legend(title=None, orient="top", symbolType="stroke", symbolOpacity=1, columns=columns)
    many: dict[str, Any] = {"range": "ordinal"} if len(names) > COLOURS else {}
    scale = alt.Scale(domain=names, **many)
    kind = "O" if many else "N"  # of ordinal colours Vega makes as many as there are names
    return alt.Color(f"{field}:{kind}", scale=scale, legend=legend if len(names) > 1 else None)


def toggle(name: str, field: str = "series") -> alt.Parameter:
    """What a click in the legend chooses: shift is not needed to choose several."""
    return alt.selection_point(name=name, fields=[field], bind="legend", toggle="true")


def strength(shown: alt.Parameter, usual: float = 1.0, faint: float = 0.06) -> alt.OpacityValue:
    """Opacity: full for what the legend shows, nearly none for what it hides."""
    return alt.OpacityValue(faint, condition={"param": shown.name, "value": usual})
