"""Which steps of a history to measure: the language of `--steps`.

    all                 every step                     0,512,1000      these steps
    1000..20000         from 1000 to 20000             1000.. ..512    open at one end
    every:5             every fifth, first and last    log  log:40     about 40 steps, even on a log axis
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from dynamics.errors import UsageError

DEFAULT_LOG_STEPS = 40
_RANGE = re.compile(r"(\d*)\.\.(\d*)")


def select_steps(available: Sequence[int], wanted: str | Sequence[int] = "all") -> list[int]:
    """The steps that `wanted` names, ascending. A named step that does not exist is an error, never the nearest.

    >>> select_steps([0, 1, 2, 4, 8, 16], "0,4..")
    [0, 4, 8, 16]
    >>> select_steps(range(0, 101, 10), "every:4")
    [0, 40, 80, 100]
    """
    steps = sorted(set(available))
    if not isinstance(wanted, str):
        return sorted({_exact(steps, step) for step in wanted})
    chosen: set[int] = set()
    for part in (part.strip() for part in wanted.split(",")):
        chosen.update(_part(steps, part))
    return sorted(chosen)


def log_spaced(steps: Sequence[int], count: int) -> list[int]:
    """About `count` of the steps, as even as they allow on the axis log(step + 1); first and last always."""
    if count < 2:
        msg = f"log:{count} asks for {count} steps; expected at least 2, the first and the last"
        raise UsageError(msg)
    place = [math.log1p(step) for step in steps]
    width = (place[-1] - place[0]) / (count - 1)
    targets = [place[0] + i * width for i in range(count)]
    return sorted({steps[min(range(len(steps)), key=lambda i: abs(place[i] - target))] for target in targets})


def _part(steps: list[int], part: str) -> list[int]:
    if part == "all":
        return steps
    kind, _, number = part.partition(":")
    if kind in ("log", "every") and (number.isdigit() or not number):
        if kind == "log":
            return log_spaced(steps, int(number or DEFAULT_LOG_STEPS))
        if int(number or 0) > 0:
            return sorted({*steps[:: int(number)], steps[-1]})
    if span := _RANGE.fullmatch(part):
        low, high = int(span[1] or 0), int(span[2]) if span[2] else steps[-1]
        if span[2] and low > high:
            msg = f"{part!r} goes backwards, from {low} to {high}; write {high}..{low}"
            raise UsageError(msg)
        inside = [step for step in steps if low <= step <= high]
        if not inside:
            msg = f"no step in {part!r}; the history goes from {steps[0]} to {steps[-1]}"
            raise UsageError(msg)
        return inside
    if part.isdigit():
        return [_exact(steps, int(part))]
    msg = f"cannot read steps {part!r}; expected 'all', 'log', 'log:40', 'every:5', '1000..20000' or numbers"
    raise UsageError(msg)


def _exact(steps: list[int], step: int) -> int:
    if step not in steps:
        nearest = sorted(sorted(steps, key=lambda other: abs(other - step))[:2])
        msg = f"step {step} is not in the history; nearest are {' and '.join(map(str, nearest))}"
        raise UsageError(msg)
    return step


def covers(text: str, step: int) -> bool:
    """Whether a step is among the numbers and ranges of a text.

    >>> covers("0,1000..53000", 1000), covers("0,1000..53000", 512)
    (True, False)
    """
    for part in text.replace(" ", "").split(","):
        first, _, last = part.partition("..")
        if int(first) <= step <= int(last or first):
            return True
    return False


def spans(text: str) -> list[int]:
    """The numbers of a rule, ascending; a rule knows what could be there, not what is.

    >>> spans("0..60:20,1000..3000:1000,5")
    [0, 5, 20, 40, 60, 1000, 2000, 3000]
    """
    numbers: set[int] = set()
    for part in text.replace(" ", "").split(","):
        span = re.fullmatch(r"(\d+)(?:\.\.(\d+)(?::(\d+))?)?", part)
        if span is None:
            msg = f"cannot read {part!r} in {text!r}; expected numbers such as 5 or 0..60:20"
            raise UsageError(msg)
        first = int(span[1])
        numbers.update(range(first, int(span[2] or first) + 1, int(span[3] or 1)))
    return sorted(numbers)
