"""What guessing gives: the chance level of an imported task, from the recipe or from the table of known tasks."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_suffix(".toml")
SCORED = re.compile(r"(.+?)_(?:acc|acc_norm|accuracy|exact_match)(?:_.+)?")  # "arc_easy_acc_norm" scores arc_easy


@dataclass(frozen=True)
class Chance:
    """`level`: what guessing gives; `questions`: how many there are; `constant`: what one answer to all gives."""

    level: float
    questions: int | None = None
    constant: float | None = None

    def bar(self) -> float:
        """What no ability is needed for: guessing, or the same answer to every question."""
        return max(self.level, self.constant or 0.0)


def chance_of(metric: str, given: Mapping[str, Any] | None = None) -> Chance | None:
    """The chance level of a metric, or None where nobody knows it.

    `given` are the levels of a recipe, by patterns of metrics or of tasks; they come before the known ones.

    >>> chance_of("piqa_acc"), chance_of("loss"), chance_of("mine_acc", {"mine": 0.1})
    (Chance(level=0.5, questions=1838, constant=None), None, Chance(level=0.1, questions=None, constant=None))
    """
    scored = SCORED.fullmatch(metric)
    names = [metric, *([scored[1]] if scored else [])]
    for pattern, level in (given or {}).items():
        if isinstance(level, int | float) and any(fnmatchcase(name, pattern) for name in names):
            return Chance(float(level))
    if scored is None:
        return None
    return next((one for pattern, one in _known().items() if fnmatchcase(scored[1], pattern)), None)


@lru_cache(maxsize=1)
def _known() -> dict[str, Chance]:
    content = tomllib.loads(TABLE.read_text("utf-8"))
    return {name: Chance(row["chance"], row.get("questions"), row.get("constant")) for name, row in content.items()}
