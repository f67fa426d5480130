"""The table of a report that holds published numbers beside the run's own, and says how these were read."""

from __future__ import annotations

from statistics import median

from dashboards.agreement import Table
from dashboards.frames import Frames
from dashboards.theme import interval, number, step
from dashboards.wording import count
from dynamics.published import STEPS, Ours, entries, how, ours
from dynamics.recipe import PublishedEntry

NOTE = (
    "Steps of detected events and of checkpoints at which a level is first passed; in brackets, for an event its 95 % "
    "interval, for a level the checkpoint before and the one itself. Of several seeds the median, then all of them. "
    "The ratio is ours to the published number."
)


def published_table(frames: Frames) -> Table | None:
    """Published, ours, how measured; None for a recipe without published numbers."""
    rows = [_row(frames, entry) for entry in entries(frames.recipe())]
    columns = ["Quantity", "Published", "Ours", "Ratio", "How ours is measured", "Source and remarks"]
    return Table("Published and measured", columns, rows, NOTE) if rows else None


def _row(frames: Frames, entry: PublishedEntry) -> list[str]:
    found = ours(entry, frames.measurements, frames.events)
    values = [one.value for one in found if one.value is not None]
    measured = how(entry.ours) + (f", less {how(entry.minus)}" if entry.minus else "")
    remarks = f"{entry.source}. {entry.note}" if entry.note else entry.source
    told = _told(entry, found, values)
    return [entry.quantity, _value(entry, entry.value), told, _ratio(entry.value, values), measured, remarks]


def _told(entry: PublishedEntry, found: list[Ours], values: list[float]) -> str:
    if not found:
        return "not measured"
    if len(found) == 1:
        return _one(entry, found[0])
    listed = "; ".join(_one(entry, one) for one in found)
    return f"{_value(entry, median(values))} over {count(len(values), 'seed')}: {listed}" if values else listed


def _one(entry: PublishedEntry, one: Ours) -> str:
    if one.value is None:
        return one.words or "not found"
    bounds = f" ({interval(one.lower, one.upper)})" if one.lower is not None and one.upper is not None else ""
    return f"{_value(entry, one.value)}{bounds}"


def _value(entry: PublishedEntry, value: float | str) -> str:
    if isinstance(value, str):
        return value
    return step(value) if entry.ours.read in STEPS else number(value)


def _ratio(published: float | str, values: list[float]) -> str:
    known = isinstance(published, float) and published != 0 and values
    return number(median(values) / published, 2) if known and isinstance(published, float) else "–"
