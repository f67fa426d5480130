"""Sources: what can list a training history and bring its checkpoints. One file for each kind.

A source file `kind.py` has `WHAT`, one line for people, and `open_source(place, series, access) -> Series`, and serves
the locators that start with `kind:`. A name without a kind is a public series of the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from dynamics.checkpoint import Checkpoint, Files
from dynamics.errors import CheckpointError, UsageError, unknown
from dynamics.sources.inspection import Publication, inspect
from dynamics.sources.steps import select_steps


@dataclass(frozen=True)
class Access:
    """How to reach checkpoints. `disk_budget` is in bytes; None keeps everything that is fetched. With
    `trust_remote_code` the Python files that checkpoints bring along may be run."""

    include_defective: bool = False
    disk_budget: int | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Series:
    """One training history: the checkpoints of one model in order, and how to bring one to this machine.

    `ignored` are the names that a source saw and did not take for checkpoints; `left_out` the checkpoints that are
    known to be defective, with the reason. `release` says that a fetched checkpoint is no longer needed;
    `publication` is what the source says of the weights without giving them, `logged` what training itself wrote down.
    """

    name: str
    source: str
    checkpoints: tuple[Checkpoint, ...]
    fetch: Callable[[Checkpoint], Files]
    ignored: tuple[str, ...] = ()
    seed: int | None = None
    left_out: tuple[tuple[Checkpoint, str], ...] = ()
    publication: Publication | None = field(default=None, compare=False)
    release: Callable[[Checkpoint], None] = lambda _: None
    notes: tuple[str, ...] = ()
    logged: Callable[[], Sequence[Mapping[str, Any]]] = lambda: ()
    outline: Callable[[Checkpoint], Files] | None = None  # the files of a checkpoint without weights, if that is less

    def select(self, steps: str | Sequence[int]) -> Series:
        """The same series with only the chosen steps."""
        chosen = set(select_steps([c.step for c in self.checkpoints], steps))
        kept = tuple(c for c in self.checkpoints if c.step in chosen)
        few = (f"{len(kept)} of the {len(self.checkpoints)} listed checkpoints were asked for",)
        return replace(self, checkpoints=kept, notes=self.notes + few * (len(kept) < len(self.checkpoints)))

    def describe(self, checkpoint: Checkpoint) -> Files:
        """The configuration and the tokenizer of a checkpoint; its weights are not brought here for that."""
        return (self.outline or self.fetch)(checkpoint)

    def with_tokens(self, tokens_per_step: int) -> Series:
        """The same series with the tokens seen at each step filled in."""
        known = tuple(replace(c, tokens_seen=c.step * tokens_per_step) for c in self.checkpoints)
        return replace(self, checkpoints=known)

    def without_defects(self, last: Checkpoint) -> Series:
        """The same series without the checkpoints that are published with wrong or missing weights."""
        if self.publication is None:
            return self
        findings = inspect(self.publication, self.checkpoints, last)
        bad = tuple((checkpoint, finding.problem) for checkpoint, finding in findings.items() if finding.problem)
        defective = {checkpoint for checkpoint, _ in bad}
        good = tuple(checkpoint for checkpoint in self.checkpoints if checkpoint not in defective)
        if not good:
            msg = f"all {len(bad)} checkpoints chosen of {self.name} are defective, first {bad[0][0]}: {bad[0][1]}; " \
                  "'--include-defective' keeps them"  # fmt: skip
            raise UsageError(msg)
        compared = sum(not finding.unanswered for finding in findings.values())
        note = f"the published weights of {compared} checkpoints were compared, and {len(bad)} are left out"
        return replace(self, checkpoints=good, left_out=bad, notes=(*self.notes, note))


def open_series(
    locator: str,
    *,
    steps: str | Sequence[int] = "all",
    name: str | None = None,
    include_defective: bool = False,
    disk_budget: str | int | None = None,
    trust_remote_code: bool = False,
) -> Series:
    """List a training history.

    `locator` is a name of the catalogue (`pythia-160m`), `hub:ORG/REPO`, `folder:PATH` or `file:PATH`. Checkpoints
    that are published with wrong or missing weights are left out, unless asked for. `disk_budget`, such as "20GB",
    bounds what fetched weights may take. `trust_remote_code` lets the Python files that checkpoints bring along run:
    read them first. Raises `UsageError` when the kind is unknown, nothing is there, or a step
    is not.
    """
    from dynamics.sources.hub_disk import read_size

    budget = read_size(disk_budget) if isinstance(disk_budget, str) else disk_budget
    series = _open(locator, name, Access(include_defective, budget, trust_remote_code))
    chosen = series.select(steps)
    kept = chosen if include_defective else chosen.without_defects(series.checkpoints[-1])
    if budget is not None:
        _check_budget(kept, budget)
    return kept


def _check_budget(series: Series, budget: int) -> None:
    """Refuse a budget that one checkpoint is too large for, before anything is downloaded."""
    from dynamics.sources.hub_disk import check_fits

    for checkpoint in series.checkpoints if series.publication else ():
        try:
            size = series.publication.weigh(checkpoint).n_bytes  # pyright: ignore[reportOptionalMemberAccess]
        except CheckpointError:
            continue  # fetching it will say why
        try:
            check_fits(size, budget, f"the weights of {checkpoint} take")
        except CheckpointError as error:
            raise UsageError(str(error)) from error


def _open(locator: str, name: str | None, access: Access) -> Series:
    kind, separator, place = locator.partition(":")
    if not separator:
        from dynamics.sources.catalogue import entries

        if locator not in entries() and "/" in locator:
            msg = f"cannot read source {locator!r}; expected KIND:PLACE, such as folder:{locator} or hub:{locator}"
            raise UsageError(msg)
        kind, place = "catalogue", locator
    if kind not in kinds():
        raise unknown(kind, kinds(), kind="source", listed_by="dynamics list sources")
    return kinds()[kind].open_source(place, name, access)


@cache
def kinds() -> dict[str, ModuleType]:
    """The kinds of source, by the word before the colon."""
    found = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    return {module.__name__.rsplit(".", 1)[1]: module for module in found if hasattr(module, "open_source")}
