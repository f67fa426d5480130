"""Names on a page that may be narrow: titles in as many lines as they need, and a short name where there is no room."""

from __future__ import annotations

import textwrap
from typing import Any

import altair as alt

from dashboards import theme

LETTER = 6.7  # pixels, of a title, on the average
# Whether the page has little room for names: it sets this, as it does the ends of the step axis.
NARROW = alt.param(name="narrow", value=False)


def names(full: dict[str, Any], short: dict[str, Any]) -> str:
    """A Vega expression from an axis' values to names. Names are data, so they stand in it only as JSON."""
    return f"(narrow ? {theme.literal(short)} : {theme.literal(full)})[datum.value]"


def lines(text: str, width: float) -> str | list[str]:
    """A panel's title in as many lines as it needs: the page breaks it anew where it is narrower."""
    return text if len(text) * LETTER <= width else textwrap.wrap(text, int(width / LETTER), break_on_hyphens=False)
