"""Which of a run's events came first, and which the checkpoints cannot tell apart in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


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
