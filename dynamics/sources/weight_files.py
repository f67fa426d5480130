"""Which of a checkpoint's files hold its weights: safetensors before torch files, and never both."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from dynamics.checkpoint import NOT_WEIGHTS, TORCH_SUFFIXES
from dynamics.errors import CheckpointError

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.(?:safetensors|bin)")
_ORDER = ("model.safetensors", "model", "pytorch_model.bin", "pytorch_model")  # a stem stands for its shards


def choose(paths: Iterable[str], folder: str = "") -> tuple[str, ...]:
    """The weight files directly in a folder of a list of paths.

    Raises `CheckpointError` when there is none, or when some shards are not there.

    >>> choose(["config.json", "pytorch_model.bin", "model.safetensors"])
    ('model.safetensors',)
    """
    place = folder or "."
    here = {PurePosixPath(path).name: path for path in paths if str(PurePosixPath(path).parent) == place}
    shards: dict[str, dict[int, tuple[int, str]]] = {}
    for name in here:
        if match := _SHARD.fullmatch(name):
            shards.setdefault(match["stem"], {})[int(match["number"])] = (int(match["count"]), name)
    for wanted in _ORDER:
        if wanted in here:
            return (here[wanted],)
        if wanted in shards:
            return tuple(here[name] for name in _whole(wanted, shards[wanted]))
    others = [name for name in here if name.endswith((".safetensors", *TORCH_SUFFIXES))]
    others = [name for name in others if not name.startswith(NOT_WEIGHTS)]
    if len(others) == 1:
        return (here[others[0]],)
    shown = ", ".join(sorted(here)[:5]) or "nothing"
    where = f"in {folder!r}" if folder else "at its top"
    msg = f"no weight file {where}, which holds {shown}; expected model.safetensors or pytorch_model.bin"
    raise CheckpointError(msg)


def _whole(stem: str, shards: dict[int, tuple[int, str]]) -> list[str]:
    count = max(count for count, _ in shards.values())
    missing = sorted(set(range(1, count + 1)) - set(shards))
    if missing:
        msg = f"{len(missing)} of the {count} files of {stem!r} are missing, the first number {missing[0]}"
        raise CheckpointError(msg)
    return [shards[number][1] for number in sorted(shards)]
