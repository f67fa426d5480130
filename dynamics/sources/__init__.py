"""Sources: what can list a training history and bring its checkpoints. One file for each kind.

A source file `kind.py` has a function `open_source(place: str, series: str | None) -> Series`, and serves the
locators that start with `kind:`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module

from dynamics.checkpoint import Checkpoint, Files
from dynamics.errors import UsageError, unknown
from dynamics.sources.steps import select_steps

KINDS = {"folder": "a folder of checkpoints: step0/, step1000/, checkpoint-500/, 1000.pt"}


@dataclass(frozen=True)
class Series:
    """One training history: the checkpoints of one model in order, and how to bring one to this machine.

    `ignored` are the names that a source saw and did not take for checkpoints.
    """

    name: str
    source: str
    checkpoints: tuple[Checkpoint, ...]
    fetch: Callable[[Checkpoint], Files]
    ignored: tuple[str, ...] = ()
    seed: int | None = None

    def select(self, steps: str | Sequence[int]) -> Series:
        """The same series with only the chosen steps."""
        chosen = set(select_steps([c.step for c in self.checkpoints], steps))
        return replace(self, checkpoints=tuple(c for c in self.checkpoints if c.step in chosen))

    def with_tokens(self, tokens_per_step: int) -> Series:
        """The same series with the tokens seen at each step filled in."""
        known = tuple(replace(c, tokens_seen=c.step * tokens_per_step) for c in self.checkpoints)
        return replace(self, checkpoints=known)


def open_series(locator: str, *, steps: str | Sequence[int] = "all", name: str | None = None) -> Series:
    """List a training history.

    `locator` is `folder:PATH`. Raises `UsageError` when the kind is unknown, nothing is there, or a step is not.
    """
    kind, separator, place = locator.partition(":")
    if not separator:
        msg = f"cannot read source {locator!r}; expected KIND:PLACE, such as folder:runs/my-training"
        raise UsageError(msg)
    if kind not in KINDS:
        raise unknown(kind, KINDS, kind="source", listed_by="dynamics list sources")
    return import_module(f"{__name__}.{kind}").open_source(place, name).select(steps)

# Public series that have a short name of their own.
CATALOGUE: list[tuple[str, str]] = []
