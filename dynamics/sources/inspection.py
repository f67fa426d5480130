"""What is wrong with a published history, told from what its source says of it before any weights are fetched.

Equal weights at two steps mean that one of them was published under a wrong name. Where nothing tells which, neither
can be believed. What `main` holds belongs to the last step. Steps 0 and 1 may be equal: the learning rate starts at 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from dynamics.checkpoint import Checkpoint
from dynamics.errors import CheckpointError, Unanswered

REQUESTS_AT_ONCE = 8


@dataclass(frozen=True)
class Weighed:
    """The weight files of a checkpoint as published: their hashes, where these are given, and their size."""

    hashes: Mapping[str, str | None]
    n_bytes: int

    @property
    def whole(self) -> frozenset[str] | None:
        """What equal weights have in common; None where a hash is not published."""
        known = [sha for sha in self.hashes.values() if sha]
        return frozenset(known) if known and len(known) == len(self.hashes) else None


@dataclass(frozen=True)
class Report:
    """What others have reported of a checkpoint."""

    problem: Literal["duplicate", "missing", "wrong"]
    reason: str


@dataclass(frozen=True)
class Publication:
    """What a source says of its checkpoints without giving their weights."""

    weigh: Callable[[Checkpoint], Weighed]
    weigh_main: Callable[[], Weighed | None] = lambda: None
    reported: Mapping[Checkpoint, Report] = field(default_factory=dict)
    labels: Mapping[Checkpoint, tuple[int, float]] = field(default_factory=dict)  # tokens in the name; how exactly
    also: Callable[[], tuple[Checkpoint, ...]] = lambda: ()  # others whose files are known without asking


@dataclass(frozen=True)
class Finding:
    """One checkpoint: what it weighs, and what is wrong with it, if anything; or why that is not known."""

    weighed: Weighed | None
    problem: str = ""
    unanswered: str = ""


def inspect(
    publication: Publication,
    checkpoints: tuple[Checkpoint, ...],
    last: Checkpoint,
    watch: Callable[[Checkpoint], None] = lambda _: None,
) -> dict[Checkpoint, Finding]:
    """One finding for each checkpoint. `last` is the last step of the whole history, which `main` belongs to."""
    everything = tuple(dict.fromkeys((*checkpoints, *publication.also(), *_reported_with(publication, checkpoints))))
    weighed: dict[Checkpoint, Weighed] = {}
    problems: dict[Checkpoint, str] = {}
    unanswered: dict[Checkpoint, str] = {}

    def weigh(checkpoint: Checkpoint) -> Weighed | CheckpointError:
        try:
            return publication.weigh(checkpoint)
        except CheckpointError as error:
            return error

    with ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="audit") as pool:
        for checkpoint, answer in zip(everything, pool.map(weigh, everything), strict=True):
            watch(checkpoint)
            if isinstance(answer, Unanswered):  # no defect: fetching it says that something is missing
                unanswered[checkpoint] = str(answer)
            elif isinstance(answer, CheckpointError):
                problems[checkpoint] = str(answer)
            else:
                weighed[checkpoint] = answer
    for checkpoint, report in publication.reported.items():
        # Equal and missing weights show in the published hashes; where there are none, the report stands.
        known = weighed.get(checkpoint)
        if report.problem == "wrong" or (known is not None and known.whole is None):
            problems.setdefault(checkpoint, report.reason)
    _copies(publication, weighed, last, problems)
    for checkpoint, (tokens, unit) in publication.labels.items():
        seen = checkpoint.tokens_seen
        if seen is not None and abs(seen - tokens) > unit:
            said = f"its name says {tokens:,} tokens, but {checkpoint.step} steps are {seen:,}"
            problems.setdefault(checkpoint, said)
    return {c: Finding(weighed.get(c), problems.get(c, ""), unanswered.get(c, "")) for c in checkpoints}


def _reported_with(publication: Publication, checkpoints: tuple[Checkpoint, ...]) -> list[Checkpoint]:
    """Those that a chosen checkpoint is said to equal: without their hashes a copy would pass for the original."""
    said = {report for c, report in publication.reported.items() if c in checkpoints and report.problem == "duplicate"}
    return [checkpoint for checkpoint, report in publication.reported.items() if report in said]


def _copies(
    publication: Publication, weighed: Mapping[Checkpoint, Weighed], last: Checkpoint, problems: dict[Checkpoint, str]
) -> None:
    main = publication.weigh_main()
    owners: dict[str, list[Checkpoint]] = defaultdict(list)
    for checkpoint, weights in weighed.items():
        for sha in {sha for sha in weights.hashes.values() if sha}:
            owners[sha].append(checkpoint)
    of_main = {sha for sha in main.hashes.values() if sha} if main else set()
    for sha, sharing in owners.items():
        rightful = last if sha in of_main else None
        suspects = [checkpoint for checkpoint in sharing if checkpoint != rightful]
        if len(sharing) < 2 and rightful is None or not suspects:
            continue
        if rightful is None:
            # Reports that the hashes bear out clear the one step that nobody complained of.
            cleared = [c for c in sharing if c not in publication.reported and c not in problems]
            if len(cleared) == 1 and len(cleared) < len(sharing):
                suspects = [c for c in sharing if c != cleared[0]]
            elif _normal(sharing):
                continue
        for checkpoint in suspects:
            problems.setdefault(checkpoint, _copy_of(checkpoint, sharing, weighed, publication,
                                                     main if sha in of_main else None))  # fmt: skip


def _normal(sharing: list[Checkpoint]) -> bool:
    return {checkpoint.step for checkpoint in sharing} == {0, 1} and len({c.stage for c in sharing}) == 1


def _copy_of(
    checkpoint: Checkpoint,
    sharing: list[Checkpoint],
    weighed: Mapping[Checkpoint, Weighed],
    publication: Publication,
    main: Weighed | None,
) -> str:
    others = [c for c in sharing if c != checkpoint]
    alike = [weighed[c].whole for c in others] + ([main.whole] if main else [])
    same = all(whole == weighed[checkpoint].whole for whole in alike)
    named = [f"{c.stage + ' ' if c.stage else ''}step {c.step}" for c in others[:3]] + ["main"] * bool(main)
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    what = "the same weights as" if same else "some of the same weight files as"
    report = publication.reported.get(checkpoint)
    return f"{what} {', '.join(named)}{more}" + (f"; {report.reason}" if report else "")
