"""A run's events in words: what emerged, when, how sure, in which heads and layers, what came first, what did not.

Every sentence is made from stored numbers alone. An order is stated only where a measured checkpoint lies between
the two intervals: inside one gap between checkpoints the data cannot tell.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import polars as pl

from dashboards.frames import Frames
from dashboards.order import order
from dashboards.theme import P95, interval, number, probability, shorten, step

MAX_PLACES = 6
_PEOPLE = ("Bayes", "Fisher", "Fourier", "Frobenius", "Gini", "Hessian", "Jaccard", "Pearson", "Shannon", "Spearman")
ONE_JUMP = 0.8  # of a curve's range within one gap between checkpoints
_VERBS = {
    ("transition", "up"): "rose", ("transition", "down"): "fell",
    ("bump", "up"): "rose and came back", ("bump", "down"): "dipped and came back",
    ("plateau", "up"): "rose to a plateau", ("plateau", "down"): "fell to a plateau",
    ("kink", "up"): "bent upwards", ("kink", "down"): "bent downwards",
    ("spike", "up"): "spiked upwards", ("spike", "down"): "spiked downwards",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One change in words: the same kind of event of one metric in one series, in however many curves."""

    series: str
    metric: str
    claim: str  # "Prefix matching rose in 3 of 8 heads: L1H0, L1H2 and L1H3"
    detail: str  # when, from what to what, how sure
    doubt: str  # why it may be less than it seems, or ""
    strongest: dict[str, Any]  # the event row that the detail is about


@dataclass(frozen=True)
class Remark:
    """Something to say about one series as a whole."""

    series: str
    text: str


@dataclass(frozen=True)
class Summary:
    """Everything that the first section of a report says."""

    headlines: list[Remark]
    findings: list[Finding]
    orders: list[Remark]
    absent: list[Remark]


def summarise(frames: Frames) -> Summary:
    """The events of a run in words."""
    findings = [_finding(frames, group) for group in _groups(frames.events)]
    return Summary(_headlines(frames, findings), findings, _orders(frames, findings), _absent(frames))


def _groups(events: pl.DataFrame) -> list[pl.DataFrame]:
    """Events that one sentence can tell, earliest first; curves whose intervals do not overlap are told apart."""
    kept = events.filter(pl.col("midpoint").is_not_null())
    groups: list[pl.DataFrame] = []
    for part in kept.partition_by("series", "metric", "kind", "direction", maintain_order=True):
        ordered = part.sort("lower", "midpoint")
        reach = ordered["upper"].fill_null(strategy="forward").cum_max().shift(1)
        apart = (ordered["lower"] > reach).fill_null(value=False).cum_sum().alias("_part")
        groups += ordered.with_columns(apart).partition_by("_part", maintain_order=True)
    return sorted(groups, key=lambda group: (str(group["series"][0]), float(group["midpoint"].min() or 0)))  # pyright: ignore[reportArgumentType]


def _by_size(group: pl.DataFrame) -> pl.DataFrame:
    size = (pl.col("after") - pl.col("before")).abs().fill_null(pl.col("magnitude").abs())
    return group.sort(size, descending=True, nulls_last=True)


def _finding(frames: Frames, group: pl.DataFrame) -> Finding:
    event = _by_size(group).row(0, named=True)
    verb = _VERBS.get((event["kind"], event["direction"]), f"changed ({event['kind']})")
    places = group["place"].unique(maintain_order=True).to_list()
    if len(places) > MAX_PLACES:
        places = _by_size(group)["place"].unique(maintain_order=True).to_list()
    where = _where(frames, event, places)
    name = f"{event['place']}: from " if len(places) > 1 else "From "
    lead = f"Largest in {name}" if len(places) > 1 else name
    detail = (
        f"{lead}{number(event['before'])} to {number(event['after'])}, half-way at step {step(event['midpoint'])} "
        f"({P95} interval {interval(event['lower'], event['upper'])}), from onset at {step(event['onset'])} to "
        f"completion at {step(event['completion'])}; {_sureness(event)}."
    )
    if group.height > 1:
        detail += f" All {group.height} midpoints lie between steps {interval(*_ends(group))}."
    return Finding(event["series"], event["metric"], f"{frames.title(event['metric'])} {verb}{where}", detail,
                   _doubt(group), event)  # fmt: skip


def _ends(group: pl.DataFrame) -> tuple[float, float]:
    low, high = group["lower"].min(), group["upper"].max()
    return float(low or 0), float(high or 0)  # pyright: ignore[reportArgumentType]


def _where(frames: Frames, event: dict[str, Any], places: list[str]) -> str:
    if places == [""]:
        return ""
    rows = frames.curves(event["metric"]).filter(pl.col("series") == event["series"])
    total = rows["place"].n_unique()
    kind = "heads" if event["head"] is not None else "layers" if event["layer"] is not None else "curves"
    if total == 1:
        return f" in {places[0]}"
    lead = "" if len(places) <= MAX_PLACES else "the largest in "
    return f" in {len(places):,} of {total:,} {kind}: {lead}{_join(places[:MAX_PLACES])}"


def _sureness(event: dict[str, Any]) -> str:
    if event["q_value"] is not None:
        return f"q\u00a0{probability(event['q_value'])} (p\u00a0{probability(event['p_value'])})"
    return f"p\u00a0{probability(event['p_value'])}"


def _doubt(group: pl.DataFrame) -> str:
    doubts = []
    if "tentative" in group.columns and group["tentative"].fill_null(value=False).all():
        doubts.append("tentative: too little was measured after it to see it settle")
    if "resolved" in group.columns and not group["resolved"].fill_null(value=True).any():
        doubts.append("the whole change fits between two checkpoints, so it may have been quicker")
    notes = [shorten(note, 300) for note in group["note"].drop_nulls().unique(maintain_order=True).to_list() if note]
    return "; ".join([*doubts, *notes[:2]])


def _headlines(frames: Frames, findings: list[Finding]) -> list[Remark]:
    lines = []
    for series in frames.series_names():
        found = [finding for finding in findings if finding.series == series]
        rows = frames.measurements.filter((pl.col("series") == series) & pl.col("value").is_not_null())
        steps, looked = rows["step"].n_unique(), rows["curve"].n_unique()
        where = f"{_count(looked, 'curve')} over {_count(steps, 'checkpoint')}"
        if not found:
            lines.append(Remark(series, f"nothing emerged. No change was detected in {where}."))
            continue
        changed = frames.events.filter(pl.col("series") == series)["curve"].n_unique()
        metrics = list(dict.fromkeys(finding.metric for finding in found))
        named = _join([_lower(frames.title(metric)) for metric in metrics[:4]] + (["more"] if len(metrics) > 4 else []))
        lines.append(Remark(series, f"{changed} of {where} changed abruptly, in {named}."))
    return lines


def _orders(frames: Frames, findings: list[Finding]) -> list[Remark]:
    """What came first, one sentence a series, from the strongest event of each finding."""
    lines: list[Remark] = []
    for series in frames.series_names():
        found = [finding.strongest for finding in findings if finding.series == series]
        tiers = order([event for event in found if None not in (event["lower"], event["upper"])], frames.steps(series))
        named = [_tier(frames, tier) for tier in tiers]
        if len(named) > 1:
            lines.append(Remark(series, f"first {'; then '.join(named)}."))
        elif tiers and len(tiers[0]) > 1:
            lines.append(Remark(series, f"{named[0]}."))
    return lines


def _tier(frames: Frames, tier: list[dict[str, Any]]) -> str:
    ends = interval(min(event["lower"] for event in tier), max(event["upper"] for event in tier))
    named = _join([_label(frames, event) for event in tier[:MAX_PLACES]] + ["others"] * (len(tier) > MAX_PLACES))
    unordered = ", which the data do not order among themselves" if len(tier) > 1 else ""
    return f"{named} (steps {ends}){unordered}"


def _absent(frames: Frames) -> list[Remark]:
    """Metrics that were measured and in which nothing was detected, one sentence a series."""
    lines = []
    for series in frames.series_names():
        rows = frames.measurements.filter((pl.col("series") == series) & pl.col("value").is_not_null())
        found = set(frames.events.filter(pl.col("series") == series)["metric"].to_list())
        rows = rows.filter(pl.col("value").max().over("curve") > pl.col("value").min().over("curve"))
        quiet = [metric for metric in rows["metric"].unique().sort().to_list() if metric not in found]
        described = [_quiet(frames, rows.filter(pl.col("metric") == metric), metric) for metric in quiet]
        if described:
            lines.append(Remark(series, f"no event in {_join(described)}."))
    return lines


def _quiet(frames: Frames, rows: pl.DataFrame, metric: str) -> str:
    values = rows["value"].drop_nulls().to_list()
    curves = rows["curve"].n_unique()
    jump = _jump(rows) if curves == 1 else ""
    spread = f"{number(min(values))} to {number(max(values))}"
    return f"{_lower(frames.title(metric))} ({_count(curves, 'curve')}, {spread}{jump})"


def _jump(rows: pl.DataFrame) -> str:
    """A remark where nearly the whole change of a curve lies in one gap: no detector can date or weigh it there."""
    ordered = rows.sort("step").select("step", "value").to_dicts()
    values = [row["value"] for row in ordered]
    middle, span = (max(values) + min(values)) / 2, max(values) - min(values)
    for number_of, (one, two) in enumerate(itertools.pairwise(ordered), start=1):
        wide = abs(two["value"] - one["value"]) >= ONE_JUMP * span
        split = max(values[:number_of]) < middle < min(values[number_of:])
        split = split or min(values[:number_of]) > middle > max(values[number_of:])
        if wide and split:
            ends = f"{step(one['step'])} and {step(two['step'])}"
            return f"; nearly all of its change lies in the one gap between steps {ends}"
    return ""


def _label(frames: Frames, event: dict[str, Any]) -> str:
    place = f" ({event['place']})" if event["place"] else ""
    verb = {"up": "the rise", "down": "the fall"}.get(event["direction"], "the change")
    return f"{verb} of {_lower(frames.title(event['metric']))}{place}"


def _lower(title: str) -> str:
    """A title within a sentence; people's names, `W_E` and `ICL` keep their capitals."""
    kept = title[1:2].isupper() or title[1:2] == "_" or title.startswith(_PEOPLE)
    return title if kept else title[:1].lower() + title[1:]


def _count(number_of: int, noun: str) -> str:
    return f"{number_of:,} {noun}{'' if number_of == 1 else 's'}"


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
