"""Tasks against what guessing gives: which models leave chance, at which checkpoint, and which never do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import polars as pl
from scipy.stats import norm

from dashboards.agreement import Table
from dashboards.frames import Frames
from dashboards.theme import interval, number
from dashboards.wording import join
from dynamics.chance import Chance, chance_of

LEAVES, NEVER, UNTESTED = "leaves", "never", "not testable"
RISK = 0.05  # of leaving chance by accident, for each series and task
MAX_ROWS = 40
NOTE = (
    "Leaves chance: two checkpoints in a row above it, and above the untrained model, by more than k standard errors; "
    "k shares a risk of 5 % for each task and model out among its checkpoints ({}). Errors are those of the table, or "
    "else binomial with the number of questions; without either it cannot be tested. Never leaving is no proof of "
    "guessing: a smaller rise than the errors allow is not seen. Changes nonetheless: detected events in the models "
    "that never leave chance, below it or within the errors; they show no ability."
)


@dataclass(frozen=True)
class Verdict:
    """One task in one series. It leaves chance between the checkpoints `lower` and `upper`."""

    series: str
    metric: str
    status: str
    chance: Chance
    highest: float
    k: float
    lower: int | None = None
    upper: int | None = None


@lru_cache(maxsize=2)  # tables, sentences and the order ask for them
def verdicts(frames: Frames) -> tuple[Verdict, ...]:
    """Every task with a known chance level in every series that has it."""
    given = frames.recipe().get("chance")
    told = []
    for metric in frames.names(""):
        level = chance_of(metric, given if isinstance(given, dict) else None)
        rows = frames.curves(metric).filter(pl.col("value").is_not_null()).sort("series", "step")
        if level is not None:
            told += [_judge(level, part) for part in rows.partition_by("series", maintain_order=True)]
    return tuple(told)


def lasting(flags: Sequence[bool]) -> int | None:
    """Where the first two in a row are true.

    >>> lasting([True, False, True, True]), lasting([True, False])
    (2, None)
    """
    return next((at for at in range(len(flags) - 1) if flags[at] and flags[at + 1]), None)


def _judge(level: Chance, rows: pl.DataFrame) -> Verdict:
    series, metric, steps = rows["series"][0], rows["metric"][0], rows["step"].to_list()
    values, errors = rows["value"].to_list(), _errors(level, rows)
    highest, k = max(values), float(norm.isf(RISK / len(values)))
    if errors is None:
        return Verdict(series, metric, UNTESTED, level, highest, k)
    # Untrained models are not at chance: what their weights prefer is no ability either.
    untrained, first = (values[0], errors[0]) if steps[0] == 0 else (-math.inf, 0.0)
    pairs = list(zip(values, errors, strict=True))
    above = [value > level.bar() + k * e and value > untrained + k * math.hypot(e, first) for value, e in pairs]
    at = lasting(above)
    if at is None:
        return Verdict(series, metric, NEVER, level, highest, k)
    return Verdict(series, metric, LEAVES, level, highest, k, steps[max(at - 1, 0)], steps[at])


def _errors(level: Chance, rows: pl.DataFrame) -> list[float] | None:
    """The standard error of every value, or None where one cannot be known."""
    told = []
    for value, given, n in rows.select("value", "stderr", "n").iter_rows():
        questions = n or level.questions
        if given is None and questions is None:
            return None
        share = min(max(value, 0.0), 1.0)
        told.append(given if given is not None else math.sqrt(share * (1 - share) / questions))
    return told


def chance_table(frames: Frames) -> Table | None:
    """Task by task: which series never leave chance, when the others do, and what was detected nonetheless."""
    found = verdicts(frames)
    if not found:
        return None
    metrics = sorted({one.metric for one in found}, key=lambda name: (-len(of(found, name, LEAVES)), name))
    rows = [_row(frames, [one for one in found if one.metric == name]) for name in metrics[:MAX_ROWS]]
    columns = ["Task", "Guessing gives", "Never leaves chance", "Leaves it between steps", "Highest",
               "Changes nonetheless"]  # fmt: skip
    sizes = sorted({number(one.k, 2) for one in found})
    left = f" {len(metrics) - MAX_ROWS} tasks are left out." if len(metrics) > MAX_ROWS else ""
    return Table("Which tasks leave chance", columns, rows, NOTE.format(f"k = {join(sizes[:3])}") + left)


def of(found: Sequence[Verdict], metric: str, status: str) -> list[Verdict]:
    """The verdicts of one task with one outcome."""
    return [one for one in found if one.metric == metric and one.status == status]


def at_chance_last(frames: Frames, metrics: Sequence[str]) -> list[str]:
    """The metrics in their own order, behind all others those in which no series ever leaves chance."""
    found = verdicts(frames)
    return sorted(metrics, key=lambda name: bool(of(found, name, NEVER)) and not of(found, name, LEAVES))


def nonetheless(frames: Frames, metric: str) -> int:
    """How many changes were detected in the series that never leave chance in a task."""
    names = [one.series for one in of(verdicts(frames), metric, NEVER)]
    return frames.events_of(metric).filter(pl.col("series").is_in(names)).height


def _row(frames: Frames, own: list[Verdict]) -> list[str]:
    metric, level = own[0].metric, own[0].chance
    never, leaves = of(own, metric, NEVER), of(own, metric, LEAVES)
    untested = len(of(own, metric, UNTESTED))
    guess = number(level.level) + (f"; one answer to all {number(level.constant)}" if level.constant else "")
    counted = f"{len(never)} of {len(own)}" if untested < len(own) else "not testable: no errors"
    ends = [(one.lower, one.upper) for one in leaves]
    when = interval(min(a or 0 for a, _ in ends), max(b or 0 for _, b in ends)) if ends else "–"
    values = [one.highest for one in own]
    highest = number(max(values)) if min(values) == max(values) else f"{number(min(values))}–{number(max(values))}"
    return [frames.title(metric), guess, counted, when, highest, str(nonetheless(frames, metric)) if never else "–"]
