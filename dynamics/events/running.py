"""Events of a series that is still growing: announced as tentative, confirmed when they have held, withdrawn in words.

`follow` is called with what it said last time whenever measurements were added. It never drops an event in silence:
one that is no longer found is first tentative again, and is withdrawn only where the next look does not find it either.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from dynamics.events.detection import detect
from dynamics.events.schema import ALL_COLUMNS, KEYS

# `status`: "tentative", "confirmed" or "withdrawn". `first_seen`: the last step measured when the event was announced.
# `last_step`: the last step measured when the row was written, so that a look at the same data changes nothing.
RUNNING_COLUMNS: dict[str, type[pl.DataType]] = {
    **ALL_COLUMNS,
    "status": pl.String,
    "first_seen": pl.Float64,
    "last_step": pl.Float64,
}


def follow(
    known: pl.DataFrame | None,
    frame: pl.DataFrame,
    *,
    metrics: pl.DataFrame | None = None,
    fdr: float = 0.05,
    min_size: float | None = None,
) -> pl.DataFrame:
    """Events of the measurements so far, each with what has become of it since it was announced: `RUNNING_COLUMNS`.

    `known`: what the call before returned, None at the first; the other arguments are those of `detect`. An event is
    announced as "tentative". It becomes "confirmed" when a later look, with more checkpoints, finds it again and five
    checkpoints follow its completion (what `detect` calls not tentative). A confirmed event that is not found again is
    "tentative" once more; a tentative one that is not found is "withdrawn", and its row is kept, with a note, for this
    one answer. Two events are the same where curve and direction agree and their intervals overlap.
    """
    found = detect(frame, metrics=metrics, fdr=fdr, min_size=min_size).to_dicts()
    last = dict(frame.group_by("series").agg(pl.col("step").max().cast(pl.Float64)).iter_rows())
    left = [] if known is None else known.filter(pl.col("status") != "withdrawn").to_dicts()
    rows = []
    for event in found:
        before = next((e for e in left if _same(e, event)), None)
        if before is not None:
            left.remove(before)
        rows.append(_announced(event, before, last[event["series"]]))
    rows += [_missed(event, last.get(event["series"], event["last_step"])) for event in left]
    order = ("series", "metric", "layer", "head", "index", "label", "midpoint")
    return pl.DataFrame(rows, schema=RUNNING_COLUMNS).sort(order)


def _same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    spikes = (a["kind"] == "spike", b["kind"] == "spike")
    if any(a[k] != b[k] for k in (*KEYS, "direction")) or spikes[0] != spikes[1]:
        return False
    return a["lower"] <= b["upper"] and b["lower"] <= a["upper"]


def _announced(event: dict[str, Any], before: dict[str, Any] | None, last: float) -> dict[str, Any]:
    """A row for an event that was found now; `before` is its row of the last look."""
    if before is None:
        return {**event, "status": "tentative", "first_seen": last, "last_step": last}
    status = before["status"]
    if last > before["last_step"]:
        settled = not event["tentative"] and last > before["first_seen"]
        status = "confirmed" if settled or status == "confirmed" else "tentative"
    return {**event, "status": status, "first_seen": before["first_seen"], "last_step": last}


def _missed(event: dict[str, Any], last: float) -> dict[str, Any]:
    """A row for an event that was known and is not found now."""
    if last <= event["last_step"]:
        return event
    status = "tentative" if event["status"] == "confirmed" else "withdrawn"
    said = f"not found again at step {last:.0f}"
    return {**event, "status": status, "last_step": last, "note": "; ".join(filter(None, (event["note"], said)))}
