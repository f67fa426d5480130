"""One event in words: the verb of its kind, what changed into what, when, and how sure that is."""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from dashboards.theme import P95, interval, number, probability, shorten, step

VERBS = {
    ("transition", "up"): "rose", ("transition", "down"): "fell",
    ("bump", "up"): "bulged above its trend", ("bump", "down"): "sagged below its trend",
    ("plateau", "up"): "stopped rising for a while", ("plateau", "down"): "stopped falling for a while",
    ("kink", "up"): "bent upwards", ("kink", "down"): "bent downwards",
    ("spike", "up"): "spiked upwards", ("spike", "down"): "spiked downwards",
}  # fmt: skip
_PEOPLE = ("Bayes", "Fisher", "Fourier", "Frobenius", "Gini", "Hessian", "Jaccard", "Pearson", "Shannon", "Spearman")
PLAIN = ("on log10 of the value", "steps are ")  # notes that say how an event was found, and no doubt about it
# Notes of the detector as a reader who does not know it needs them.
TOLD = {
    "on log10 of the value, which changes by": "seen on a logarithmic scale: log₁₀ of the value changes by",
    "between two checkpoints: sharpness is an upper bound": "it may have been quicker: all of it fits between two "
    "checkpoints",
    " checkpoints after it": " checkpoints after it: it may not be over",
}
Event = dict[str, Any]


def verb(event: Event) -> str:
    """What the curve did."""
    return VERBS.get((event["kind"], event["direction"]), f"changed ({shorten(str(event['kind']))})")


def change(event: Event) -> str:
    """From what to what, or by how much, short enough for a table."""
    by = _signed(event["magnitude"])
    if event["kind"] in ("bump", "spike"):
        return f"{by} off its trend"
    if event["kind"] == "kink":
        return f"{by} by the end"
    if event["kind"] == "plateau":
        return f"at {number(event['before'])}"
    return f"{number(event['before'])} → {number(event['after'])}"


def detail(event: Event) -> str:
    """When, from what to what and how sure, as a clause that can follow a name and a colon."""
    bounds = f"({P95} interval {interval(event['lower'], event['upper'])})"
    span = f"from onset at {step(event['onset'])} to completion at {step(event['completion'])}"
    at = f"at step {step(event['midpoint'])} {bounds}"
    by_the_end = f"which makes a difference of {_signed(event['magnitude'])} by the last checkpoint"
    said = {
        "bump": f"by {_signed(event['magnitude'])} {at}, {span}",
        "spike": f"by {_signed(event['magnitude'])} {at}",
        "kink": f"its slope changes {at}, {by_the_end}",
        "plateau": f"near {number(event['before'])}, around step {step(event['midpoint'])} {bounds}, {span}",
    }
    level = f"from {number(event['before'])} to {number(event['after'])}, half-way {at}, {span}"
    return f"{said.get(event['kind'], level)}; {sureness(event)}"


def aside(event: Event) -> str:
    """What a row with columns for midpoint, interval and size has still to say."""
    if event["kind"] in ("spike", "kink") or event["onset"] is None or event["completion"] is None:
        return ""
    return f"onset {step(event['onset'])}, completion {step(event['completion'])}"


def remark(event: Event) -> list[str]:
    """The parts of an event's note that explain and do not cast doubt."""
    parts = [_told(part) for part in shorten(event["note"] or "", 300).split("; ") if part.startswith(PLAIN)]
    return [part[:1].upper() + part[1:] for part in parts]


def _told(note: str) -> str:
    for said, meant in TOLD.items():
        note = note.replace(said, meant)
    return re.sub(r"(?<![\w.])-(?=\d)", "−", note)


def sureness(event: Event) -> str:
    """The q- and p-value."""
    if event["q_value"] is not None:
        return f"q\u00a0{probability(event['q_value'])} (p\u00a0{probability(event['p_value'])})"
    return f"p\u00a0{probability(event['p_value'])}"


def doubt(group: pl.DataFrame) -> str:
    """Why events, the largest first, may be less than they seem: the note, or what the flags say, or nothing."""
    notes = [shorten(note, 300) for note in group["note"].head(1).drop_nulls().to_list() if note]
    if notes:
        return "; ".join(_told(part) for part in notes[0].split("; ") if not part.startswith(PLAIN))
    doubts = []
    if "tentative" in group.columns and group["tentative"].fill_null(value=False).all():
        doubts.append("tentative: too little was measured after it to see it settle")
    if "resolved" in group.columns and not group["resolved"].fill_null(value=True).any():
        doubts.append("the whole change fits between two checkpoints, so it may have been quicker")
    return "; ".join(doubts)


def at(event: Event) -> str:
    """Where a change is; a label in quotes, for it may be any word, such as “none”."""
    return f"“{event['place']}”" if event["label"] and event["place"] == event["label"] else event["place"]


def lower(title: str) -> str:
    """A title within a sentence; people's names, `W_E`, `ICL` and `SciQ` keep their capitals."""
    first = title.split(" ", maxsplit=1)[0]
    kept = any(letter.isupper() for letter in first[1:]) or title[1:2] == "_" or title.startswith(_PEOPLE)
    return title if kept else title[:1].lower() + title[1:]


def count(number_of: int, noun: str) -> str:
    """`1 curve`, `2,048 curves`."""
    return f"{number_of:,} {noun}{'' if number_of == 1 else 's'}"


def join(words: list[str]) -> str:
    """`a, b and c`; nothing for nothing."""
    return "".join(words) if len(words) < 2 else f"{', '.join(words[:-1])} and {words[-1]}"


def _signed(value: float | None) -> str:
    return number(value) if value is None or value < 0 else f"+{number(value)}"
