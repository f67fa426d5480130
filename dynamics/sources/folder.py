"""A folder of checkpoints: subfolders `step1000/`, `checkpoint-500/`, or files `1000.pt`, `ckpt_1000.pt`.

The folder may be on this disk or anywhere that fsspec opens: `folder:s3://bucket/run`. In what a transformers Trainer
writes, a checkpoint counts once its `trainer_state.json` is there, which is written last; the losses logged in it are
read too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dynamics.checkpoint import NOT_WEIGHTS, TORCH_SUFFIXES, Checkpoint, Files, are_settled, files_in, read_json
from dynamics.errors import CheckpointError, UsageError
from dynamics.sources import Access, Series

WHAT = "a folder of checkpoints, here or at s3://, gs:// ...: step0/, step1000/, checkpoint-500/, 1000.pt"

# A word or none, then the step: "step1000", "checkpoint-500", "step_1000", "epoch-3", "1000".
_NAME = re.compile(r"(?:[A-Za-z_\-]*[A-Za-z_\-])?(\d+)")
# What is numbered and no step of one history: as steps, the runs of five seeds would be drawn as one curve.
_OTHER = re.compile(r"(?:.*[-_])?(?:seed|run|trial|version|v|fold|rank|worker|shard|part|layer|head)[-_]?\d+", re.I)

STATE, INCOMPLETE = "trainer_state.json", "checkpoint-is-incomplete.txt"


@dataclass(frozen=True)
class Entry:
    """Something in the folder: its name, and for a subfolder the names in it; None for a file."""

    name: str
    inside: frozenset[str] | None


def open_source(place: str, series: str | None = None, access: Access | None = None) -> Series:
    """List the checkpoints in a folder. Nothing is opened; entries that are no checkpoints are named in `ignored`."""
    if "://" in place:
        from dynamics.sources.remote import open_remote

        return open_remote(place, series, access or Access())
    root = Path(place).expanduser()
    if not root.is_dir():
        msg = f"no folder at {place!r}; expected a folder of checkpoints such as step0/, step1000/ or 1000.pt"
        raise UsageError(msg)
    name = series or root.resolve().name
    trusted = access is not None and access.trust_remote_code
    found, ignored = find_steps(place, (_entry(path) for path in sorted(root.iterdir())))

    def fetch(checkpoint: Checkpoint) -> Files:
        path = root / found[checkpoint.step]
        if not path.is_dir():
            return Files((path,), immutable=path.exists() and are_settled((path,)))
        return replace(files_in(path), code=path) if trusted else files_in(path)

    logged = _logged(root / found[max(found)] / STATE)
    tokens = {int(row["step"]): int(row["num_input_tokens_seen"]) for row in logged if "num_input_tokens_seen" in row}
    checkpoints = tuple(Checkpoint(name, step, "", tokens.get(step), found[step]) for step in sorted(found))
    return Series(name, f"folder:{place}", checkpoints, fetch, tuple(ignored), logged=lambda: logged)


def find_steps(place: str, entries: Iterable[Entry]) -> tuple[dict[int, str], list[str]]:
    """The entries that are checkpoints, by step, and the names of the others."""
    entries = list(entries)
    by_trainer = any(STATE in (entry.inside or ()) for entry in entries)
    found: dict[int, str] = {}
    ignored = []
    for entry in entries:
        step = _step(entry)
        if step is None:
            ignored.append(entry.name)
        elif entry.inside is not None and _is_unfinished(entry, by_trainer):
            ignored.append(f"{entry.name} (not finished: no {STATE})")
        elif step in found:
            msg = f"{place} has step {step} twice: {found[step]} and {entry.name}; keep one of them"
            raise UsageError(msg)
        else:
            found[step] = entry.name
    if not found:
        msg = (
            f"no checkpoints in {place!r}, which holds {', '.join(ignored[:5]) or 'nothing'}; expected folders such "
            "as step1000/ or checkpoint-500/, or files such as 1000.pt"
        )
        raise UsageError(msg)
    return found, ignored


def _entry(path: Path) -> Entry:
    return Entry(path.name, frozenset(child.name for child in path.iterdir()) if path.is_dir() else None)


def _step(entry: Entry) -> int | None:
    stem, dot, suffix = entry.name.rpartition(".")
    if entry.inside is not None:
        stem = entry.name
    elif dot + suffix not in (".safetensors", *TORCH_SUFFIXES):
        return None
    match = None if _OTHER.fullmatch(stem) or stem.startswith(NOT_WEIGHTS) else _NAME.fullmatch(stem)
    return int(match[1]) if match else None


def _is_unfinished(entry: Entry, by_trainer: bool) -> bool:
    inside = entry.inside or frozenset()
    return INCOMPLETE in inside or (by_trainer and entry.name.startswith("checkpoint-") and STATE not in inside)


def _logged(path: Path) -> list[Mapping[str, Any]]:
    """What a Trainer logged up to a checkpoint; nothing where there is no such file, or it cannot be read."""
    if not path.is_file():
        return []
    try:
        history = read_json(path).get("log_history", [])
    except CheckpointError:
        return []
    return [row for row in history if isinstance(row, dict) and isinstance(row.get("step"), int)]
