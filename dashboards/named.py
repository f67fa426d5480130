"""Named phase changes: which of those that the literature describes a run shows, and which of their parts.

The rules are data (`dynamics/events/rules.toml`). A phase change is said to have taken place only where every part
that it requires was found; what was found of the others is told part by part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from dashboards.frames import Frames
from dashboards.theme import P95, interval, probability, step
from dashboards.wording import count, join, lower
from dynamics.events import apply_rules, load_rules

# How to say that it happened.
PAST = {
    "induction heads form": "Induction heads formed",
    "grokking": "Grokking took place",
    "hidden progress": "A progress measure moved before the test loss",
    "stages of a language model": "The language was learnt in stages",
    "linear regression in context": "Linear regression was learnt in context",
}
# What it is, for whoever meets it for the first time.
MEANING = {
    "induction heads form": "heads come to attend to what followed the present token last time, and the loss falls "
                            "for whatever the text repeats",
    "grokking": "the training set is fitted at once, what was never seen is answered long after",
    "hidden progress": "a measure of the mechanism moves while the test loss does not yet",
    "the weights know before the accuracy": "the weights single out the bits that count before any answer is right",
    "stages of a language model": "pairs of tokens first, then longer sequences, then the context",
    "linear regression in context": "the examples in the context come to be used",
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One change that a named phase change consists of."""

    name: str
    status: str  # "found", "not found" or "not measured"
    required: bool
    when: str = ""  # "at step 317 (95 % interval 285–339)", or "" where it was not found
    sure: str = ""  # "q < 10⁻⁶", or ""
    ends: tuple[float, float] = (0.0, 0.0)  # of the interval
    where: str = ""  # "prefix matching in L1H3, the surest of 4", or ""


@dataclass(frozen=True)
class PhaseChange:
    """What one series shows of one named phase change."""

    series: str
    rule: str
    source: str
    found: bool
    parts: list[Part]

    def measured(self) -> bool:
        """Whether every part that it requires was looked for."""
        return all(part.status != "not measured" for part in self.parts if part.required)

    def meaning(self) -> str:
        """What this phase change is, or nothing for a rule that is not described."""
        return MEANING.get(self.rule, "")

    def any_found(self) -> bool:
        """Whether any of its parts was found."""
        return any(part.status == "found" for part in self.parts)

    def verdict(self) -> str:
        """The outcome in a few words."""
        if self.found:
            return "found"
        return "not found" if self.measured() else "not decided: a part was not measured"


def phase_changes(frames: Frames) -> list[PhaseChange]:
    """What every series shows of each rule of which it measured a required part."""
    whole = ("midpoint", "lower", "upper", "p_value")
    events = frames.events.filter(pl.all_horizontal(pl.col(name).is_not_null() for name in whole))
    rows = apply_rules(events, frames.examined())
    sources = {rule.name: rule.source for rule in load_rules()}
    told = []
    for series in frames.series_names():
        for part in rows.filter(pl.col("series") == series).partition_by("rule", maintain_order=True):
            if (part["required"] & (part["status"] != "not measured")).any():
                rule = part["rule"][0]
                parts = [_part(frames, events, row) for row in part.iter_rows(named=True)]
                told.append(PhaseChange(series, rule, sources[rule], part["found"][0], parts))
    return told


def _part(frames: Frames, events: pl.DataFrame, row: dict[str, Any]) -> Part:
    name, status, required = row["part"], row["status"], row["required"]
    if status != "found":
        return Part(name, status, required)
    metric, ends = lower(frames.title(row["metric"])), (row["lower"], row["upper"])
    if row["kind"] == "first gap":
        when = f"between the first checkpoints (steps {step(row['lower'])} and {step(row['upper'])})"
        return Part(name, status, required, when, "", ends, metric)
    same = events.filter(
        *(pl.col(key).eq_missing(pl.lit(row[key])) for key in ("series", "metric", "kind", "midpoint", "layer", "head"))
    ).row(0, named=True)
    where = f"{metric} in {same['place']}" if same["place"] else metric
    surest = f", the surest of {count(row['n_events'], 'change')} that fit" if row["n_events"] > 1 else ""
    when = f"at step {step(row['midpoint'])} ({P95} interval {interval(row['lower'], row['upper'])})"
    sure = f"q\u00a0{probability(same['q_value'])}" if same["q_value"] is not None else ""
    return Part(name, status, required, when, sure, ends, f"{where}{surest}")


def lead_of(changes: list[PhaseChange], *, many_series: bool) -> list[str]:
    """Sentences about one rule in all series: where it was found and when, where it was not although looked for."""
    rule, found = changes[0].rule, [change for change in changes if change.found]
    missing = [change for change in changes if not change.found and change.measured()]
    if not found:
        partly = [text for change in missing if (text := _partly(change))]
        return partly[:2] if partly else [f"Looked for and not found: {rule} ({_names(missing)})."] if missing else []
    said = PAST.get(rule, f"“{rule}” took place")
    if len(found) <= 2:
        where = [f" in {change.series}" * many_series + f": {_dated(change)}" for change in found]
        sentences = [f"{said}{'; '.join(where)}."]
    else:
        sentences = [f"{said} in {len(found)} of {len(changes)} series: {_ranged(found)}."]
    if missing:
        in_full = " in full" if any(_partly(change) for change in missing) else ""
        sentences.append(f"Not found{in_full} in {_names(missing)}, though looked for in the same way.")
    return sentences


def _names(changes: list[PhaseChange]) -> str:
    names = [change.series for change in changes]
    return join(names) if len(names) <= 4 else f"{join(names[:3])} and {len(names) - 3} more series"


def _dated(change: PhaseChange) -> str:
    needed = [part for part in change.parts if part.required]
    return ", ".join(
        f"{part.name} {part.when[:-1]}, {part.sure})" if part.sure else f"{part.name} {part.when}" for part in needed
    )


def _ranged(changes: list[PhaseChange]) -> str:
    """From when to when several series show the parts that a rule requires."""
    told = []
    for parts in zip(*([part for part in change.parts if part.required] for change in changes), strict=True):
        first, last = min(part.ends[0] for part in parts), max(part.ends[1] for part in parts)
        told.append(f"{parts[0].name} between steps {interval(first, last)} (all {P95} intervals)")
    return ", ".join(told)


def _partly(change: PhaseChange) -> str:
    """Which of the parts that a rule requires were found, where not all were."""
    needed = [part for part in change.parts if part.required]
    found = [f"“{part.name}” {part.when}" for part in needed if part.status == "found"]
    missing = [f"“{part.name}”" for part in needed if part.status == "not found"]
    if not found or not missing:
        return ""
    return f"Of “{change.rule}”, {change.series} shows only a part: {join(found)}, but not {join(missing)}."
