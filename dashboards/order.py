"""Which of a run's events came first, and which the checkpoints cannot tell apart in time; the same in words."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from dashboards.frames import Frames
from dashboards.theme import interval
from dashboards.wording import at, join, lower

MAX_TIERS, MAX_NAMED = 6, 4  # that are told: groups, and the largest changes of each


def comes_before(first: dict[str, Any], second: dict[str, Any], steps: Sequence[int]) -> bool:
    """Whether a checkpoint lies between the end of one event's midpoint interval and the beginning of the other's.

    >>> early, late = {"lower": 10, "upper": 30}, {"lower": 35, "upper": 60}
    >>> comes_before(early, late, [0, 32, 64]), comes_before(early, late, [0, 16, 64])
    (True, False)
    """
    return any(first["upper"] <= at <= second["lower"] for at in steps)


def order(events: Sequence[dict[str, Any]], steps: Sequence[int]) -> list[list[dict[str, Any]]]:
    """Events in groups, earliest first: a new group begins only where every event of the last one came before it."""
    tiers: list[list[dict[str, Any]]] = []
    for event in sorted(events, key=lambda event: (event["lower"], event["upper"])):
        if tiers and not all(comes_before(earlier, event, steps) for earlier in tiers[-1]):
            tiers[-1].append(event)
        else:
            tiers.append([event])
    return tiers


def told(frames: Frames, events: Sequence[dict[str, Any]], steps: Sequence[int]) -> str:
    """What came first, what then; nothing of a single event. Of many groups the first are told, and the last."""
    tiers = order([event for event in events if None not in (event["lower"], event["upper"])], steps)
    named = [_tier(frames, tier, steps) for tier in tiers]
    if len(tiers) > MAX_TIERS:
        left = len(tiers) - MAX_TIERS
        between = f"{left} more groups of changes" if left > 1 else "one more group of changes"
        named = [*named[: MAX_TIERS - 1], f"{between}, which the timeline shows", f"last {named[-1]}"]
    if len(named) > 1:
        return f"first {'; then '.join(named)}."
    return f"{named[0]}." if tiers and len(tiers[0]) > 1 else ""


def _tier(frames: Frames, tier: list[dict[str, Any]], steps: Sequence[int]) -> str:
    ends = interval(min(event["lower"] for event in tier), max(event["upper"] for event in tier))
    largest = sorted(tier, key=lambda event: -(event["share"] or 0))[:MAX_NAMED]
    others = [f"{len(tier) - MAX_NAMED} smaller ones"] if len(tier) > MAX_NAMED + 1 else []
    kept = [event for event in tier if event in largest] if others else tier
    named = join([_label(frames, event) for event in kept] + others)
    chained = any(comes_before(one, two, steps) for one, two in itertools.permutations(tier, 2))
    unordered = ", each overlapping the next" if chained else ", in an order that the checkpoints do not tell"
    return f"{named} (steps {ends}){unordered if len(tier) > 1 else ''}"


def _label(frames: Frames, event: dict[str, Any]) -> str:
    place = f" ({at(event)})" if event["place"] else ""
    verb = {"up": "the rise", "down": "the fall"}.get(event["direction"], "the change")
    return f"{verb} of {lower(frames.title(event['metric']))}{place}"
