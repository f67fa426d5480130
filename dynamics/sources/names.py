"""Names of checkpoints: which stage, step and tokens the name of a branch, a folder or a file stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Nearly all public branch names: "step1000", "stage1-step1000-tokens5B", "global_step1000", "step-001000-2BT".
# A word of another kind before a number counts something else: "seed_3" is no step.
ANY = (
    r"(?:(?P<stage>stage\d+(?:-ingredient\d+)?|lc-\d+k-to-\d+k|longctx|extension|phase\d+)[-_])?"
    r"(?:(?:[A-Za-z]+_)?(?:global_step|checkpoint[-_]step|checkpoint[-_]|ckpt[-_]|chck_|iter_|epoch[-_]|step)[-_]?)?"
    r"(?P<step>\d+)(?P<unit>[kM])?(?:-(?:tokens?-?)?(?P<tokens>\d+(?:\.\d+)?)(?P<tokens_unit>[MBT])T?)?"
)
UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
# Names come from strangers: none that is longer is matched, and no number that the store could not hold is one.
LONGEST, LARGEST = 300, 2**63 - 1


@dataclass(frozen=True)
class Name:
    """What a name says. `tokens_unit` is how coarsely its tokens are written: 10**9 for "tokens5B"."""

    stage: str
    step: int
    tokens: int | None = None
    tokens_unit: int = 1


def read_name(name: str, pattern: str = ANY) -> Name | None:
    """The stage, step and tokens that a name gives, or None where it is no checkpoint's.

    A name that counts tokens only has these for its step.

    >>> read_name("stage1-step1000-tokens3B")
    Name(stage='stage1', step=1000, tokens=3000000000, tokens_unit=1000000000)
    >>> read_name("hf_ckpt/16.78B", r"hf_ckpt/(?P<tokens>[0-9.]+)(?P<tokens_unit>B)").step
    16780000000
    >>> read_name("main") is None
    True
    """
    match = re.fullmatch(pattern, name) if len(name) <= LONGEST else None
    if match is None:
        return None
    found = {key: value or "" for key, value in match.groupdict().items()}
    tokens, unit = None, 1
    if found.get("tokens"):
        unit = UNITS[found.get("tokens_unit", "")]
        whole, _, digits = found["tokens"].partition(".")
        # The last digit written is what the name resolves: "16.78B" is known to ten million.
        unit = max(1, unit // 10 ** len(digits))
        tokens = round(float(found["tokens"]) * UNITS[found.get("tokens_unit", "")]) if digits else int(whole) * unit
    step = int(found["step"]) * UNITS[found.get("unit", "")] if found.get("step") else tokens
    if step is None or max(step, tokens or 0) > LARGEST:
        return None
    return Name(found.get("stage", ""), step, tokens, unit)


def agreed_rate(names: Sequence[Name]) -> tuple[float, float] | None:
    """Tokens per step that most labels agree on, and the relative error that rounding leaves; None where they do not.

    >>> rate, error = agreed_rate([Name("", 1000 * i, 4 * i * 10**9, 10**9) for i in (1, 2, 3, 90)])
    >>> round(rate), round(error, 3)
    (4000000, 0.003)
    >>> agreed_rate([Name("", i, t * 10**6, 10**6) for i, t in ((1, 1), (2, 2), (4, 4), (8, 8), (16, 9), (32, 32))])[1]
    0.03125
    """
    labelled = [(name.step, name.tokens, name.tokens_unit) for name in names if name.tokens and name.step]
    best: tuple[int, float, float] | None = None
    # A coarse label agrees with everything, also with what is wrong: the finer half is asked.
    finest = sorted(labelled, key=lambda label: label[2] / label[1])[: max(3, min(50, len(labelled) // 2))]
    for step, tokens, unit in finest:
        rate, error = tokens / step, unit / tokens
        agreeing = sum(abs(t - s * rate) <= u + s * rate * error for s, t, u in labelled)
        # Of equal agreement the finer one counts.
        if best is None or (agreeing, -error) > (best[0], -best[2]):
            best = agreeing, rate, error
    if best is None or best[0] < max(3, 0.6 * len(labelled)):
        return None
    return best[1], best[2]


def natural(text: str) -> list[tuple[int, str]]:
    """A sort key by which "stage10" comes after "stage2": of two numbers the longer one is the larger."""
    parts = re.split(r"0*(\d+)", text)
    return [(len(part), part) if i % 2 else (0, part) for i, part in enumerate(parts)]
