"""Tasks over many models: when each rises in which size, whether bigger models rise earlier, which task comes first."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import false_discovery_control, kendalltau

from dashboards.agreement import Table
from dashboards.chances import LEAVES, NEVER, lasting, of, verdicts
from dashboards.frames import Frames
from dashboards.gradual import goes, trend
from dashboards.models import by_size, size_of
from dashboards.theme import interval, number, probability, step
from dashboards.wording import count, join, lower

MAX_TASKS = 8
FEWEST = 5  # sizes of one family before a rank correlation is told
FDR = 0.05
MOST = 0.4  # of a curve's way from end to end that a detected change makes before it stands for the rise
SHARED = 0.8  # of the smallest rise of a family: the level at which its models are compared
_FLAVOUR = re.compile(r"[-_](bf16|fp16|fp32|float16|bfloat16)(?![a-z0-9])")
STEPS_NOTE = (
    "Small models first. A step with its 95 % interval: the midpoint of a detected rise that makes at least two fifths "
    "of the way; “bend”: where the curve turns upwards. Gradual: it rises, but not faster than gradual learning, and "
    "is half-way at that step. Chance: it never leaves what guessing gives."
)
SIZE_NOTE = (
    "Kendall's rank correlation of size and step with its exact p, families apart; minus: bigger models are earlier. "
    "Half-way: of the model's own rise. Same level (in brackets): four fifths of the smallest rise of the family. "
    "Steps are interpolated between checkpoints, also inside one gap. The first paragraph tells what has q < {} over "
    "the {}."
)
FIRST_NOTE = (
    "Of the models in which both tasks leave chance: in how many the row's task left it before · after the column's · "
    "inside the same checkpoint gap. A task with more questions is told from chance a little sooner."
)


def ability_tables(frames: Frames) -> list[Table]:
    """The tables, as far as the tasks' chance levels and the models' sizes are known."""
    tasks = rising_tasks(frames)
    if not tasks:
        return []
    tables = [_steps_table(frames, tasks), _size_table(frames, tasks), _first_table(frames, tasks)]
    return [table for table in tables if table is not None]


def rising_tasks(frames: Frames) -> list[str]:
    """The tasks that leave chance in at least one series: those that leave it in most, and earliest, first."""
    found = verdicts(frames)
    left = {name: of(found, name, LEAVES) for name in dict.fromkeys(one.metric for one in found)}

    def place(name: str) -> tuple[float, ...]:
        return -len(left[name]), float(np.median([one.upper or 0 for one in left[name]]))

    return sorted((name for name in left if left[name]), key=place)


def told(frames: Frames) -> list[str]:
    """What the tables say in a sentence each: which tasks leave chance, and whether size brings that forward."""
    found = verdicts(frames)
    tasks = list(dict.fromkeys(one.metric for one in found))
    if not tasks:
        return []
    every = len(frames.series_names())
    leaving = {name: len(of(found, name, LEAVES)) for name in [*rising_tasks(frames), *tasks]}
    groups = {
        "in every series": [n for n in leaving if leaving[n] == every],
        "in some": [n for n in leaving if 0 < leaving[n] < every],
        "in none": [n for n in leaving if not leaving[n] and of(found, n, NEVER)],
    }
    parts = [
        f"{_listed(frames, names, leaving if where == 'in some' else {}, every)} {where}"
        for where, names in groups.items() if names
    ]  # fmt: skip
    return [f"Tasks that leave chance: {'; '.join(parts)}."] * bool(parts) + _size_told(frames)


def _listed(frames: Frames, names: list[str], counts: dict[str, int], every: int) -> str:
    shown = [_short(frames, name) + (f" ({counts[name]} of {every})" if name in counts else "") for name in names]
    return join(shown[:MAX_TASKS] + [count(len(shown) - MAX_TASKS, "other")] * (len(shown) > MAX_TASKS))


def _short(frames: Frames, metric: str) -> str:
    return lower(frames.title(metric).removesuffix(" accuracy"))


def _steps_table(frames: Frames, tasks: list[str]) -> Table | None:
    shown = tasks[:MAX_TASKS]
    rows = [[name, *(_cell(frames, name, metric) for metric in shown)] for name in by_size(frames)]
    left = f" {len(tasks) - MAX_TASKS} tasks are left out." if len(tasks) > MAX_TASKS else ""
    titles = [_short(frames, metric) for metric in shown]
    return Table("When each task rises, by model size", ["Model", *titles], rows, STEPS_NOTE + left)


def _cell(frames: Frames, series: str, metric: str) -> str:
    rows = _rows(frames, series, metric)
    if rows.is_empty():
        return "–"
    if any(one.series == series for one in of(verdicts(frames), metric, NEVER)):
        return "chance"
    curve = _points(rows)
    start, end = goes([value for _, value in curve])
    rises = frames.events_of(metric).filter(
        pl.col("series") == series, pl.col("direction") == "up", pl.col("kind").is_in(["transition", "kink"]),
        pl.col("midpoint").is_not_null(), pl.col("magnitude") >= MOST * (end - start),
    )  # fmt: skip
    if rises.height:
        # A bend has no half-way point: it stands only where there is no change of level.
        best = rises.sort(pl.col("kind") == "transition", "share", descending=True, nulls_last=True).row(0, named=True)
        bend = "bend " if best["kind"] == "kink" else ""
        return f"{bend}{step(best['midpoint'])} ({interval(best['lower'], best['upper'])})"
    half = _crossing(curve, (start + end) / 2) if trend(rows) > 0 else None
    return "not lasting" if half is None else f"gradual {step(half)}"


def _rows(frames: Frames, series: str, metric: str) -> pl.DataFrame:
    return frames.curves(metric).filter(pl.col("series") == series, pl.col("value").is_not_null()).sort("step")


def _points(rows: pl.DataFrame) -> list[tuple[int, float]]:
    return rows.select("step", "value").rows()


def _crossing(curve: Sequence[tuple[int, float]], level: float) -> float | None:
    """Where a curve comes to stay above a level for two checkpoints, between them on the logarithmic step axis."""
    at = lasting([value >= level for _, value in curve])
    if not at:
        return None
    (before, low), (after, high) = curve[at - 1], curve[at]
    share = min(max((level - low) / (high - low), 0.0), 1.0) if high > low else 1.0
    return math.expm1(math.log1p(before) + share * (math.log1p(after) - math.log1p(before)))


def _families(frames: Frames) -> dict[str, list[str]]:
    """Series that differ in their size alone, or in what they were computed in; families of too few are left out."""
    families: dict[str, list[str]] = {}
    for name in by_size(frames):
        if size_of(frames, name):
            bare = re.sub(r"[-_]?\d+(\.\d+)?[kmb](?![a-z0-9])", "", _FLAVOUR.sub("", name.lower()))
            families.setdefault(bare or "models", []).append(name)
    return {family: names for family, names in families.items() if len(names) >= FEWEST}


def _correlations(frames: Frames, tasks: list[str]) -> list[dict[str, Any]]:
    """Size against both steps, for every task that all series of a family leave chance in."""
    rows = []
    for metric, (family, names) in itertools.product(tasks, _families(frames).items()):
        left = {one.series for one in of(verdicts(frames), metric, LEAVES)}
        if not left.issuperset(names):
            continue
        curves = [_points(_rows(frames, name, metric)) for name in names]
        ends = [goes([value for _, value in curve]) for curve in curves]
        sizes, shared = [size_of(frames, name) for name in names], min(a + SHARED * (b - a) for a, b in ends)
        for how, levels in (("half", [(a + b) / 2 for a, b in ends]), ("same", [shared] * len(ends))):
            reached = [_crossing(curve, level) for curve, level in zip(curves, levels, strict=True)]
            if None not in reached and len(set(reached)) > 1:
                found = kendalltau(sizes, reached)
                rows.append({"metric": metric, "family": family, "how": how, "level": shared, "n": len(names),
                             "tau": float(found.statistic),  # pyright: ignore[reportAttributeAccessIssue]
                             "p": float(found.pvalue)})  # pyright: ignore[reportAttributeAccessIssue]  # fmt: skip
    corrected = false_discovery_control([row["p"] for row in rows]) if rows else []
    return [{**row, "q": float(q)} for row, q in zip(rows, corrected, strict=True)]


def _size_table(frames: Frames, tasks: list[str]) -> Table | None:
    found = _correlations(frames, tasks)
    if not found:
        return None
    pairs = dict.fromkeys((row["metric"], row["family"]) for row in found)
    rows = []
    for metric, family in pairs:
        own = {row["how"]: row for row in found if (row["metric"], row["family"]) == (metric, family)}
        half, same = (_correlation(own.get(how)) for how in ("half", "same"))
        level, n = next((number(row["level"], 2), row["n"]) for row in own.values())
        rows.append([_short(frames, metric), f"{family} ({n})", half, f"{same} ({level})"])
    note = SIZE_NOTE.format(FDR, count(len(found), "correlation"))
    columns = ["Task", "Family (models)", "Half-way of its own rise", "The same level"]
    return Table("Do bigger models rise earlier?", columns, rows, note)


def _correlation(row: dict[str, Any] | None) -> str:
    return "–" if row is None else f"{number(row['tau'], 2)}, p\u00a0{probability(row['p'])}"


def _size_told(frames: Frames) -> list[str]:
    found = _correlations(frames, rising_tasks(frames))
    told = []
    for how, said in (("same", "reach the same accuracy"), ("half", "are half-way through their own rise")):
        own = [row for row in found if row["how"] == how]
        clear = [row for row in own if row["q"] < FDR]
        parts = []
        for sign, when in ((-1, "earlier"), (1, "later")):
            named = _agreeing(frames, [row for row in clear if row["tau"] * sign > 0])
            parts += [f"{when} in {named}"] * bool(named)
        if own:
            told.append(f"Bigger models {said} {'; '.join(parts)}." if parts else
                        f"Whether bigger models {said} earlier cannot be told.")  # fmt: skip
    return told


def _agreeing(frames: Frames, rows: list[dict[str, Any]]) -> str:
    """Tasks with the families in which something is clear."""
    every, parts = len(_families(frames)), []
    for metric in dict.fromkeys(row["metric"] for row in rows):
        own = [row["family"] for row in rows if row["metric"] == metric]
        parts.append(_short(frames, metric) + (f" ({join(own)} only)" if len(own) < every else ""))
    return join(parts) if parts else ""


def _first_table(frames: Frames, tasks: list[str]) -> Table | None:
    if len(tasks) < 2:
        return None
    found, shown = verdicts(frames), tasks[:MAX_TASKS]
    left = {name: {one.series: one for one in of(found, name, LEAVES)} for name in shown}
    rows = []
    for one in shown[:-1]:
        cells = []
        for two in shown[1:]:
            if shown.index(two) <= shown.index(one):
                cells.append("")
                continue
            pairs = [(left[one][name], left[two][name]) for name in left[one] if name in left[two]]
            before = sum((a.upper or 0) <= (b.lower or 0) for a, b in pairs)
            after = sum((b.upper or 0) <= (a.lower or 0) for a, b in pairs)
            cells.append(f"{before} · {after} · {len(pairs) - before - after}" if pairs else "–")
        rows.append([_short(frames, one), *cells])
    columns = ["Left chance", *(f"before {_short(frames, name)}" for name in shown[1:])]
    return Table("Which task leaves chance first", columns, rows, FIRST_NOTE)
