"""How many tokens a checkpoint has seen: by its step where the batch is known, else as its name says."""

from __future__ import annotations

from dynamics.sources.catalogue import Entry
from dynamics.sources.names import Name


def tokens_seen(entry: Entry, name: Name, first_stage: str, agreed: tuple[float, float] | None = None) -> int | None:
    """Tokens since the beginning of the whole history; None where nobody says.

    Where steps restart by stage, so may the tokens in names. A stage of which it is not known how many came before
    has none: at the wrong place of the axis, it would date what emerges wrongly. `agreed` are the tokens per step
    that most names of the first stage agree on.
    """
    stage = entry.stage(name.stage)
    before = stage.tokens_before if stage else 0 if name.stage == first_stage and not entry.stages else None
    if before is None:
        return None
    if agreed is not None and name.tokens is not None:
        return round(agreed[0] * name.step)
    each = stage.tokens_per_step if stage else entry.tokens_per_step
    if entry.tokens_from == "step" and each is not None:
        return before + each * name.step
    return None if name.tokens is None else before + name.tokens


def said(entry: Entry, name: Name, seen: int) -> int:
    """What the name says, as a number that can be compared with `seen`: some names count from their stage's start."""
    stage, tokens = entry.stage(name.stage), name.tokens or 0
    before = (stage.tokens_before or 0) if stage else 0
    return min((tokens, before + tokens), key=lambda total: abs(total - seen))
