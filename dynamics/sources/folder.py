"""A folder of checkpoints on disk: subfolders `step1000/`, `checkpoint-500/`, or files `1000.pt`, `step_1000.pt`."""

from __future__ import annotations

import re
from pathlib import Path

from dynamics.checkpoint import TORCH_SUFFIXES, Checkpoint, Files, files_in
from dynamics.errors import UsageError
from dynamics.sources import Access, Series

WHAT = "a folder of checkpoints: step0/, step1000/, checkpoint-500/, 1000.pt"

# A word or none, then the step: "step1000", "checkpoint-500", "step_1000", "epoch-3", "1000".
_NAME = re.compile(r"(?:[A-Za-z_\-]*[A-Za-z_\-])?(\d+)")


def open_source(place: str, series: str | None = None, access: Access | None = None) -> Series:  # noqa: ARG001
    """List the checkpoints in a folder. Nothing is opened; entries that are no checkpoints are named in `ignored`."""
    root = Path(place).expanduser()
    if not root.is_dir():
        msg = f"no folder at {place!r}; expected a folder of checkpoints such as step0/, step1000/ or 1000.pt"
        raise UsageError(msg)
    name = series or root.resolve().name
    found: dict[int, Path] = {}
    ignored = []
    for entry in sorted(root.iterdir()):
        step = _step(entry)
        if step is None:
            ignored.append(entry.name)
        elif step in found:
            msg = f"{place} has step {step} twice: {found[step].name} and {entry.name}; keep one of them"
            raise UsageError(msg)
        else:
            found[step] = entry
    if not found:
        msg = (
            f"no checkpoints in {place!r}, which holds {', '.join(ignored[:5]) or 'nothing'}; expected folders such "
            "as step1000/ or checkpoint-500/, or files such as 1000.pt"
        )
        raise UsageError(msg)

    def fetch(checkpoint: Checkpoint) -> Files:
        path = found[checkpoint.step]
        return files_in(path) if path.is_dir() else Files((path,))

    checkpoints = tuple(Checkpoint(name, step, revision=found[step].name) for step in sorted(found))
    return Series(name, f"folder:{place}", checkpoints, fetch, tuple(ignored))


def _step(entry: Path) -> int | None:
    if entry.is_dir():
        name = entry.name
    elif entry.suffix in (".safetensors", *TORCH_SUFFIXES):
        name = entry.stem
    else:
        return None
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None
