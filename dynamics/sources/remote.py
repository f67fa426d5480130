"""Folders of checkpoints that fsspec opens elsewhere: each checkpoint is copied here when its turn comes."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec

from dynamics.checkpoint import Checkpoint, Files
from dynamics.errors import CheckpointError, UsageError
from dynamics.redaction import redact
from dynamics.sources import Access, Series
from dynamics.sources.folder import Entry, find_steps
from dynamics.sources.hub_disk import DiskBudget
from dynamics.sources.weight_files import choose

ATTEMPTS = 4
WAIT = 1.0  # seconds before the second attempt, doubled for each further one


def open_remote(place: str, series: str | None, access: Access) -> Series:
    """List the checkpoints in a folder of another file system. Raises `UsageError` where it cannot be listed."""
    if access.trust_remote_code:
        msg = f"code is not run from {redact(place)!r}; copy the checkpoints here and open them as folder:PATH"
        raise UsageError(msg)
    try:
        system, root = fsspec.url_to_fs(place)
        listed = system.ls(root, detail=True)
    except (OSError, ImportError, ValueError) as error:
        said = redact(f"{place!r}: {error}", place)
        msg = f"cannot list {said}; expected a folder that fsspec can open with what is installed"
        raise UsageError(msg) from error
    entries = []
    for item in sorted(listed, key=lambda item: item["name"]):
        is_folder = item["type"] == "directory"
        names = system.ls(item["name"], detail=False) if is_folder else ()
        inside = frozenset(path.rsplit("/", 1)[-1] for path in names) if is_folder else None
        entries.append(Entry(item["name"].rstrip("/").rsplit("/", 1)[-1], inside))
    found, ignored = find_steps(redact(place), entries)
    name = series or root.rstrip("/").rsplit("/", 1)[-1]
    budget = DiskBudget(access.disk_budget) if access.disk_budget is not None else None
    kept = _cache() / hashlib.sha256(place.encode()).hexdigest()[:16]
    copier = _Copier(system, root.rstrip("/"), kept, found, budget)
    checkpoints = tuple(Checkpoint(name, step, revision=found[step]) for step in sorted(found))
    return Series(name, f"folder:{redact(place)}", checkpoints, copier.fetch, tuple(ignored), release=copier.release)


@dataclass
class _Copier:
    """Copies checkpoints here, each once for as long as it does not change there."""

    system: Any
    root: str
    cache: Path
    found: dict[int, str]
    budget: DiskBudget | None
    sizes: dict[Path, int] = field(default_factory=dict)

    def fetch(self, checkpoint: Checkpoint) -> Files:
        try:
            return self._fetch(f"{self.root}/{self.found[checkpoint.step]}", ("", checkpoint.step))
        except OSError as error:
            self.release(checkpoint)
            said = redact(f"{self.root}/{self.found[checkpoint.step]}: {error}", f"://{self.root.lstrip('/')}")
            msg = f"cannot copy {said}; try again later"
            raise CheckpointError(msg) from error
        except CheckpointError:
            self.release(checkpoint)
            raise

    def release(self, checkpoint: Checkpoint) -> None:
        if self.budget is not None:
            self.budget.release(("", checkpoint.step))

    def _fetch(self, place: str, key: tuple[str, int]) -> Files:
        if self.system.isfile(place):
            weights, beside = (place,), {}
        else:
            names = {path.rsplit("/", 1)[-1]: path for path in self.system.ls(place, detail=False)}
            weights = tuple(names[name] for name in choose(names))
            beside = {name: names[name] for name in ("config.json", "tokenizer.json") if name in names}
        local = {path: self._local(path) for path in weights}
        if self.budget is not None:
            self.budget.reserve(key, {local[path]: self.system.size(path) or 0 for path in weights}, {})
        for path in weights:
            self._copy(path, local[path])
        small = {name: self._copy(path, self._local(path)) for name, path in beside.items()}
        return Files(
            tuple(local.values()), small.get("config.json"), small.get("tokenizer.json"), immutable=True
        )

    def _local(self, path: str) -> Path:
        """Where a file is kept here: under another name once it has changed there."""
        state = hashlib.sha256(f"{path} {self.system.ukey(path)}".encode()).hexdigest()[:16]
        return self.cache / state / path.rsplit("/", 1)[-1]

    def _copy(self, path: str, local: Path) -> Path:
        if local.exists():
            return local
        local.parent.mkdir(parents=True, exist_ok=True)
        partial = local.with_name(f"{local.name}.{os.getpid()}.partial")
        for attempt in range(ATTEMPTS):
            try:
                self.system.get_file(path, str(partial))
                break
            except FileNotFoundError:
                raise
            except OSError:
                if attempt == ATTEMPTS - 1:
                    raise
                time.sleep(WAIT * 2**attempt)
        partial.replace(local)
        return local


def _cache() -> Path:
    """Where copies are kept: DYNAMICS_CACHE, or the user's cache folder."""
    named = os.environ.get("DYNAMICS_CACHE")
    return Path(named).expanduser() if named else Path("~/.cache/dynamics").expanduser()
