"""The table of a report on single skills: subtasks, quanta and tokens, how each fell, and what is in it."""

from __future__ import annotations

from typing import Any

import polars as pl

from dashboards.agreement import Table
from dashboards.frames import Frames, loads
from dashboards.theme import number, shorten, step
from dynamics.monogenic import SKILLS, skills

MAX_ROWS = 30
EXAMPLES = 3
NOTE = (
    "Monogenic: two plateaus and a single drop between two checkpoints, after Michaud et al. 2023 (plateaus of {} and "
    "a drop of {}). Largest single drop: between two neighbouring checkpoints, as a share of the whole fall, which "
    "depends on which checkpoints there are. Half-way: the first checkpoint at which half of the fall is done."
)


def skill_tables(frames: Frames) -> list[Table]:
    """One table for each metric of single skills that the run has."""
    return [_table(frames, metric) for metric in SKILLS if not frames.curves(metric).is_empty()]


def _table(frames: Frames, metric: str) -> Table:
    curves = frames.curves(metric).filter(pl.col("value").is_not_null())
    verdicts = skills(curves)
    examples = _examples(frames)
    many = len(frames.series_names()) > 1
    rows = [_row(curves, verdict, examples, many=many) for verdict in verdicts.iter_rows(named=True)]
    if len(rows) > MAX_ROWS:  # of many tokens, those that fall most suddenly
        largest = verdicts["largest_drop_share"].fill_null(0.0).arg_sort(descending=True)[:MAX_ROWS]
        rows = [rows[place] for place in largest]
    plateau, drop = (f"{bound:g} nats" for bound in SKILLS[metric])
    left = f" The {MAX_ROWS} most sudden of {len(verdicts):,} are shown." if len(verdicts) > MAX_ROWS else ""
    sudden = int(verdicts["monogenic"].sum())
    title = f"{frames.title(metric)}: {sudden:,} of {len(verdicts):,} monogenic"
    columns = ["Skill", "First", "Last", "Half-way", "Largest single drop", "Monogenic"]
    columns += ["Examples"] if any(len(row) > len(columns) for row in rows) else []
    return Table(title, columns, [row[: len(columns)] for row in rows], NOTE.format(plateau, drop) + left)


def _row(
    curves: pl.DataFrame, verdict: dict[str, Any], examples: dict[str, str], *, many: bool
) -> list[str]:
    same = [pl.col(name).eq_missing(pl.lit(verdict[name])) for name in ("series", "index", "label")]
    curve = curves.filter(*same, pl.col("metric") == verdict["metric"]).sort("step")
    first, last = curve["value"][0], curve["value"][-1]
    half = curve.filter(pl.col("value") <= (first + last) / 2)["step"]
    name = verdict["label"] or f"token {verdict['index']}"
    told = f"between {step(verdict['before'])} and {step(verdict['after'])}" if verdict["monogenic"] else "no"
    share = "–" if verdict["largest_drop_share"] is None else f"{verdict['largest_drop_share']:.0%}"
    when = step(half[0]) if len(half) and last < first else "–"
    row = [f"{verdict['series']}: {name}" if many else name, number(first), number(last), when, share, told]
    return [*row, examples[name]] if name in examples else row


def _examples(frames: Frames) -> dict[str, str]:
    """What comes before each token, in the order of the text, and some of that for each quantum.

    A store may hold anything: what is no such list is left out.
    """
    told: dict[str, str] = {}
    for settings in frames.tasks.filter(pl.col("task") == "quanta")["settings"].to_list():
        listed = loads(settings).get("tokens")
        by_quantum: dict[str, list[str]] = {}
        for place, one in enumerate(listed if isinstance(listed, list) else []):
            if isinstance(one, dict):
                shown = f"{one.get('context', '')}[{one.get('token', '')}]"
                told[f"token {place}"] = shorten(shown, 80)
                by_quantum.setdefault(str(one.get("quantum")), []).append(shown)
        for name, some in by_quantum.items():
            every = some[:: -(-len(some) // EXAMPLES)]
            told[name] = f"{shorten(' · '.join(every), 200)} ({len(some):,} in all)"
    return told
