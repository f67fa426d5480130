"""A run's events in words: what emerged, when, how sure, in which heads and layers, what came first, what did not.

Every sentence is made from stored numbers alone. An order is stated only where a measured checkpoint lies between
the two intervals: inside one gap between checkpoints the data cannot tell.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import polars as pl

from dashboards import across
from dashboards.abilities import told
from dashboards.frames import Frames
from dashboards.gradual import told as gradually
from dashboards.moments import Moment, moments
from dashboards.named import PhaseChange, lead_of, phase_changes
from dashboards.order import told as order_told
from dashboards.theme import P95, interval, number, step
from dashboards.wording import aside, at, count, detail, doubt, join, lower, remark, sureness, verb

MAX_PLACES = 6
MAX_NAMED = 4  # changes in a headline
ONE_JUMP = 0.8  # of a curve's range within one gap between checkpoints
UNFINISHED = "The run has not finished: what emerged is decided at its end."
FEWEST = 8  # checkpoints of a curve below which the detector does not look


@dataclass(frozen=True)
class Finding:
    """One change in words: the same kind of event of one metric in one series, in however many curves."""

    series: str
    metric: str
    claim: str  # "Prefix matching rose in 3 of 8 heads: L1H0, L1H2 and L1H3"
    short: str  # "prefix matching rose in 3 of 8 heads"
    detail: str  # when, from what to what, how sure
    aside: str  # what a table with columns for these has still to say
    doubt: str  # why it may be less than it seems, or ""
    large: bool
    strongest: dict[str, Any]  # the event row that the detail is about


@dataclass(frozen=True)
class Remark:
    """Something to say about one series as a whole or, where there are many, about one change in all of them."""

    about: str
    text: str


@dataclass(frozen=True)
class Summary:
    """Everything that the first section of a report says."""

    lead: str  # the first paragraph: what emerged, when, how sure, and what did not
    headlines: list[Remark]
    findings: list[Finding]
    phases: list[PhaseChange]
    together: tuple[Moment, ...]
    orders: list[Remark]
    absent: list[Remark]
    unexamined: str  # metrics in which changes were not looked for


def summarise(frames: Frames) -> Summary:
    """The events of a run in words."""
    if frames.events.is_empty() and frames.runs["finished"].has_nulls():
        return Summary(UNFINISHED, [], [], [], (), [], [], _unexamined(frames))
    findings = [_finding(frames, group) for group in _groups(frames)]
    phases, together, unexamined = phase_changes(frames), moments(frames), _unexamined(frames)
    if not across.is_many(frames):
        lead, lines = _lead(frames, phases, findings), _headlines(frames, findings)
        return Summary(
            lead, lines, findings, phases, together, _orders(frames, findings), _absent(frames), unexamined
        )  # fmt: skip
    changes = across.shared_changes(frames)
    lines, orders, absent = (
        [Remark(*line) for line in told]
        for told in (across.lines(changes), across.orders(frames, changes), across.quiet(frames))
    )
    named = _phases_lead(phases, many=True)
    lead = " ".join([" ".join(named) or across.lead(changes) or _lead(frames, phases, findings), *told(frames)])
    # Part by part the named phase changes of many series fill pages: the lead has their outcome.
    return Summary(lead, lines, findings, [], together[: across.MANY], orders, absent, unexamined)


def _lead(frames: Frames, phases: list[PhaseChange], findings: list[Finding]) -> str:
    """The named phase changes of all series or, where none can be judged, the largest change of all."""
    many = len(frames.series_names()) > 1
    if told := _phases_lead(phases, many=many):
        return " ".join(told)
    if not findings:
        looked = frames.examined()
        if _is_short(looked):
            return f"The history is too short to tell whether anything emerged.{_looked(frames, looked)}"
        nothing = f"Nothing emerged that could be told from noise or gradual learning.{_looked(frames, looked)}"
        return nothing if looked.height else ""
    best = max(findings, key=lambda finding: finding.strongest["share"] or 0)
    event, others = best.strongest, {finding.series for finding in findings}
    within = f" in {best.series}" if many else ""
    quiet = [name for name in frames.series_names() if name not in others]
    none = f" No change was found in {join(quiet[:6])}." if quiet else ""
    return (
        f"The largest change{within}: {best.short}, half-way at step {step(event['midpoint'])} "
        f"({P95} interval {interval(event['lower'], event['upper'])}; {sureness(event)}).{none}"
    )


def _phases_lead(phases: list[PhaseChange], *, many: bool) -> list[str]:
    rules = list(dict.fromkeys(change.rule for change in phases))
    return [
        sentence for rule in rules
        for sentence in lead_of([change for change in phases if change.rule == rule], many_series=many)
    ]  # fmt: skip


def _is_short(rows: pl.DataFrame) -> bool:
    """Whether there are too few checkpoints for any change to be detected: silence then says nothing."""
    return rows.height > 0 and rows["step"].n_unique() < FEWEST


def _groups(frames: Frames) -> list[pl.DataFrame]:
    """Events that one sentence can tell, earliest first; curves whose intervals do not overlap are told apart."""
    kept = frames.events.filter(pl.col("midpoint").is_not_null())
    groups: list[pl.DataFrame] = []
    for part in kept.partition_by("series", "metric", "kind", "direction", "large", maintain_order=True):
        ordered = part.sort("lower", "midpoint")
        reach = ordered["upper"].fill_null(strategy="forward").cum_max().shift(1)
        apart = (ordered["lower"] > reach).fill_null(value=False).cum_sum().alias("_part")
        groups += ordered.with_columns(apart).partition_by("_part", maintain_order=True)
    places = {name: number for number, name in enumerate(frames.series_names())}

    def when(group: pl.DataFrame) -> tuple[int, float]:
        series, first = group["series"][0], group["midpoint"].min()
        return places.get(series, len(places)), float(first or 0)  # pyright: ignore[reportArgumentType]

    return sorted(groups, key=when)


def _finding(frames: Frames, group: pl.DataFrame) -> Finding:
    by_size = group.sort("share", descending=True, nulls_last=True)
    event, places = by_size.row(0, named=True), group["place"].unique(maintain_order=True).to_list()
    if len(places) > MAX_PLACES:
        places = by_size["place"].unique(maintain_order=True).to_list()
    did = f"{frames.title(event['metric'])} {verb(event)}"
    short = f"{lower(did)}{_where(frames, event, places, listed=False)}"
    claim = f"{did}{_where(frames, event, places)}"
    said = detail(event)
    said = f"Largest in {at(event)}: {said}." if len(places) > 1 else f"{said[:1].upper()}{said[1:]}."
    less = aside(event)
    less = f"Largest in {at(event)}{f': {less}' * bool(less)}" if len(places) > 1 else less[:1].upper() + less[1:]
    every = "Both" if group.height == 2 else f"All {group.height}"
    spread = f"{every} midpoints lie between steps {interval(*_ends(group))}." if group.height > 1 else ""
    less = " ".join([*[f"{less}."] * bool(less), spread, *[f"{text}." for text in remark(event)]]).strip()
    said = " ".join([said, *[spread] * bool(spread), *[f"{text}." for text in remark(event)]])
    return Finding(
        event["series"], event["metric"], claim, short, said, less, doubt(by_size), bool(event["large"]), event
    )


def _ends(group: pl.DataFrame) -> tuple[float, float]:
    low, high = group["lower"].min(), group["upper"].max()
    return float(low or 0), float(high or 0)  # pyright: ignore[reportArgumentType]


def _where(frames: Frames, event: dict[str, Any], places: list[str], *, listed: bool = True) -> str:
    if places == [""]:
        return ""
    total = frames.n_curves(event["metric"], event["series"])
    if event["label"] is not None:
        places = [f"“{place}”" for place in places]
    if total == 1 or (len(places) == 1 and not listed):
        return f" in {places[0]}"
    kind = "heads" if event["head"] is not None else "layers" if event["layer"] is not None else "curves"
    counted = f" in {len(places):,} of {total:,} {kind}"
    if not listed:
        return counted
    return f"{counted}: {'' if len(places) <= MAX_PLACES else 'the largest in '}{join(places[:MAX_PLACES])}"


def _headlines(frames: Frames, findings: list[Finding]) -> list[Remark]:
    lines = []
    for series in frames.series_names():
        rows = frames.examined(series)
        found = [finding for finding in findings if finding.series == series]
        if found:
            changed = frames.events.filter(pl.col("series") == series)["curve"].n_unique()
            lines.append(Remark(series, f"{_largest(frames, found)}{_looked(frames, rows, changed)}"))
        else:
            short = "too few checkpoints to tell." if _is_short(rows) else "nothing emerged."
            lines.append(Remark(series, f"{short}{_looked(frames, rows)}"))
    return lines


def _looked(frames: Frames, rows: pl.DataFrame, changed: int = 0) -> str:
    """How many of the curves that were examined have a change. Metrics along an index are maps and do not count."""
    curves = sum(frames.n_curves(*curve) for curve in rows.select("metric", "series").unique().iter_rows())
    looked = f"{count(curves, 'curve')} over {count(frames.n_steps(rows), 'checkpoint')}"
    if _is_short(rows) and not changed:
        return f" {looked[0].upper()}{looked[1:]}; changes are looked for from {FEWEST} checkpoints on."
    return f" {changed or 'No change was detected in'}{' of' * bool(changed)} {looked}{' changed' * bool(changed)}."


def _largest(frames: Frames, found: list[Finding]) -> str:
    """The largest changes of a series in the order of time, and how many more there are."""
    large = [finding for finding in found if finding.large] or found
    named = sorted(large, key=lambda finding: -(finding.strongest["share"] or 0))[:MAX_NAMED]
    parts = [
        f"{finding.short} around step {step(finding.strongest['midpoint'])}"
        for finding in sorted(named, key=lambda finding: finding.strongest["midpoint"])
    ]
    small = sum(not finding.large for finding in found) if found != large else 0
    more = [count(len(large) - len(named), "more change") if len(large) > len(named) else "",
            count(small, "small one") if small else ""]  # fmt: skip
    listed = join([part for part in more if part]) if any(more) else ""
    return f"{join(parts)}.{f' Besides: {listed}.' if listed else ''}"


def _orders(frames: Frames, findings: list[Finding]) -> list[Remark]:
    """What came first, one sentence a series, from the largest event of each large finding."""
    lines: list[Remark] = []
    for series in frames.series_names():
        # A spike is a checkpoint that stands out, not something that emerges.
        own = [finding for finding in findings if finding.series == series and finding.strongest["kind"] != "spike"]
        found = [finding.strongest for finding in own if finding.large] or [finding.strongest for finding in own]
        if text := order_told(frames, found, frames.steps(series)):
            lines.append(Remark(series, text))
    return lines


def _absent(frames: Frames) -> list[Remark]:
    """Metrics that were measured and in which nothing was detected, one sentence a series."""
    lines = []
    for series in frames.series_names():
        rows = frames.examined(series)
        found = set(frames.events.filter(pl.col("series") == series)["metric"].to_list())
        rows = rows.filter(pl.col("value").max().over("curve") > pl.col("value").min().over("curve"))
        quiet = [metric for metric in rows["metric"].unique().sort().to_list() if metric not in found]
        described = [_quiet(frames, rows.filter(pl.col("metric") == metric), metric) for metric in quiet]
        if described:
            lines.append(Remark(series, f"no change in {join(described)}."))
    return lines


def _unexamined(frames: Frames) -> str:
    names = sorted(name for name in frames.names() if not frames.is_examined(name))
    counted = [f"{lower(frames.title(n))} ({count(frames.n_curves(n), 'curve')})" for n in names]
    return join(counted) if counted else ""


def _quiet(frames: Frames, rows: pl.DataFrame, metric: str) -> str:
    series = rows["series"][0]
    curves = frames.n_curves(metric, series)
    way = gradually(rows) if curves == 1 else ""
    jump = (_jump(rows) or f"; {way}" * bool(way)) if curves == 1 else ""
    spread = "values from " + " to ".join(number(end) for end in frames.ends(metric, series))
    return f"{lower(frames.title(metric))} ({count(curves, 'curve')}, {spread}{jump})"


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
