"""Named phase changes as rules over events; the rules are data (`rules.toml`), and each says which parts it found."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import polars as pl

from dynamics.events.together import lag

FROM_EVENT = ("metric", "layer", "head", "kind", "direction", "midpoint", "lower", "upper")
FIRST_GAP_SHARE = 0.8  # of the range
WINDOW = 0.25  # decades between the midpoints of two parts that go together, where a rule does not say
RULE_COLUMNS: dict[str, type[pl.DataType]] = {
    "series": pl.String,
    "rule": pl.String,
    "part": pl.String,
    "required": pl.Boolean,
    "status": pl.String,
    "metric": pl.String,
    "layer": pl.Int64,
    "head": pl.Int64,
    "kind": pl.String,
    "direction": pl.String,
    "midpoint": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "lag": pl.Float64,
    "n_events": pl.Int64,
    "found": pl.Boolean,
}


@dataclass(frozen=True)
class Part:
    """One event that a rule looks for."""

    name: str
    metric: tuple[str, ...]
    label: tuple[str, ...]
    kind: tuple[str, ...]
    direction: str | None
    required: bool
    relation: str | None  # "with", "after" or "before"
    to: str | None
    window: float
    first_gap: bool


@dataclass(frozen=True)
class Rule:
    """A named phase change."""

    name: str
    source: str
    parts: tuple[Part, ...]


def _many(value: str | list[str] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _part(raw: dict[str, Any], rule: str, known: list[str]) -> Part:
    allowed = {
        "name", "metric", "label", "kind", "direction", "required", "with", "after", "before", "window", "first_gap",
    }  # fmt: skip
    wrong = sorted(set(raw) - allowed)
    if wrong or "name" not in raw or "metric" not in raw:
        msg = (
            f"rule {rule!r}: part {raw.get('name', '?')!r} has {wrong or 'no name or metric'}; "
            f"expected name, metric and optionally {', '.join(sorted(allowed - {'name', 'metric'}))}"
        )
        raise ValueError(msg)
    relation = next((r for r in ("with", "after", "before") if r in raw), None)
    to = raw.get(relation) if relation else None
    if to is not None and to not in known:
        msg = f"rule {rule!r}: part {raw['name']!r} stands {relation} {to!r}, which is no earlier part: {known}"
        raise ValueError(msg)
    return Part(
        raw["name"], _many(raw["metric"]), _many(raw.get("label")), _many(raw.get("kind")), raw.get("direction"),
        raw.get("required", True),
        relation, to, float(raw.get("window", WINDOW)), raw.get("first_gap", False),
    )  # fmt: skip


def load_rules(path: Path | str | None = None) -> tuple[Rule, ...]:
    """Read rules from a TOML file, by default those that come with the package.

    Raises ValueError for an unknown key, a part without name or metric, or a relation to a part that does not stand
    before it.
    """
    text = Path(path or Path(__file__).with_name("rules.toml")).read_text(encoding="utf-8")
    out = []
    for raw in tomllib.loads(text).get("rule", []):
        parts: list[Part] = []
        for part in raw.get("part", []):
            parts.append(_part(part, raw["name"], [p.name for p in parts]))
        out.append(Rule(raw["name"], raw.get("source", ""), tuple(parts)))
    return tuple(out)


def _fits(part: Part, event: dict[str, Any], chosen: dict[str, dict[str, Any]]) -> bool:
    if not any(fnmatchcase(event["metric"], m) for m in part.metric):
        return False
    if part.label and not any(fnmatchcase(event["label"] or "", pattern) for pattern in part.label):
        return False
    if (part.kind and event["kind"] not in part.kind) or (part.direction and event["direction"] != part.direction):
        return False
    if part.relation is None or part.to not in chosen:
        return part.relation is None
    decades, _, _, said = lag(chosen[part.to], event)
    if part.relation == "with":
        other = chosen[part.to]
        overlap = event["lower"] <= other["upper"] and other["lower"] <= event["upper"]
        return overlap or abs(decades) <= part.window
    return said == ("before" if part.relation == "after" else "after")


def _in_first_gap(part: Part, own: pl.DataFrame) -> list[dict[str, Any]]:
    """Curves of the part's metrics of which most of the range was passed between the first two checkpoints.

    No detector can see such a change, for there is one checkpoint before it; a rule may still know it is over.
    """
    out = []
    for (metric,), curve in own.drop_nulls("value").sort("step").group_by("metric", maintain_order=True):
        value, step = curve["value"].to_list(), curve["step"].to_list()
        if not any(fnmatchcase(str(metric), m) for m in part.metric) or len(value) < 2:
            continue
        change = value[1] - value[0]
        if abs(change) >= FIRST_GAP_SHARE * (max(value) - min(value)) > 0:
            place = {"lower": step[0], "midpoint": ((step[0] + 1) * (step[1] + 1)) ** 0.5 - 1, "upper": step[1]}
            said = {"metric": metric, "kind": "first gap", "direction": "up" if change > 0 else "down", "p_value": 1.0}
            out.append({**dict.fromkeys(FROM_EVENT), **said, **place})
    return out


def _read(rule: Rule, events: list[dict[str, Any]], own: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of one rule on one series: each part with the event that it found."""
    metrics = own["metric"].unique().to_list()
    chosen: dict[str, dict[str, Any]] = {}
    rows = []
    for part in rule.parts:
        fitting = [e for e in events if _fits(part, e, chosen)]
        if not fitting and part.first_gap:
            fitting = _in_first_gap(part, own)
        measured = any(fnmatchcase(m, pattern) for m in metrics for pattern in part.metric)
        row: dict[str, Any] = {
            "rule": rule.name,
            "part": part.name,
            "required": part.required,
            "n_events": len(fitting),
        }
        row["status"] = "found" if fitting else "not found" if measured else "not measured"
        if fitting:
            best = min(fitting, key=lambda e: e["p_value"])
            chosen[part.name] = best
            row.update({k: best[k] for k in FROM_EVENT})
            if part.to in chosen:
                row["lag"] = lag(chosen[part.to], best)[0]
        rows.append(row)
    found = bool(rows) and all(r["status"] == "found" for r in rows if r["required"])
    return [{**r, "found": found} for r in rows]


def apply_rules(events: pl.DataFrame, frame: pl.DataFrame, rules: tuple[Rule, ...] | None = None) -> pl.DataFrame:
    """Which named phase changes a series shows, part by part: `RULE_COLUMNS`.

    `events`: what `detect` returned; `frame`: the measurements, which say what was measured. `status` of a part:
    "found", "not found" or "not measured"; `lag`: decades from the part it refers to; `n_events`: how many events
    fit (heads, for instance); `kind` is "first gap" for a change that was over by the second checkpoint; `found`:
    every required part was found. Rules of which nothing was measured are left out.
    """
    rows = []
    for series in frame["series"].unique(maintain_order=True).to_list():
        curves = frame.filter(pl.col("series") == series)
        own = events.filter(pl.col("series") == series).to_dicts()
        for rule in load_rules() if rules is None else rules:
            read = _read(rule, own, curves)
            if any(r["status"] != "not measured" for r in read):
                rows.extend({"series": series, **r} for r in read)
    return pl.DataFrame(rows, schema=RULE_COLUMNS)
