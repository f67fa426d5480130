"""How much of a series' weights is on this disk: what may stay, what must go before the next download."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dynamics.errors import CheckpointError, UsageError
from dynamics.sources.hub_files import RemoteFile

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
Key = tuple[str, int]


def read_size(text: str) -> int:
    """Bytes of "20GB", "500MB", "1.5TB".

    >>> read_size("20GB")
    20000000000
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", text, re.IGNORECASE)
    if match is None:
        msg = f"cannot read size {text!r}; expected a number and a unit, such as 20GB"
        raise UsageError(msg)
    return int(float(match[1]) * _UNITS[match[2].upper()])


def sizes_and_hashes(links: Mapping[Path, RemoteFile]) -> tuple[dict[Path, int], dict[Path, str]]:
    """Of the files of a checkpoint: what each takes, and the published hash of those that have one."""
    return {link: f.size for link, f in links.items()}, {link: f.sha for link, f in links.items() if f.sha}


def check_fits(size: int, budget: int, what: str = "its weights take") -> None:
    """Raise `CheckpointError` where a checkpoint alone is more than the budget."""
    if size > budget:
        msg = f"{what} {size:,} bytes, more than the disk budget of {budget:,}; allow {-(-size // 10**6)}MB or more"
        raise CheckpointError(msg)


@dataclass
class DiskBudget:
    """Keeps the weights of one series within a number of bytes; weights that checkpoints share count once.

    A checkpoint is in use from `reserve` until `release`. Room is made by deleting first what has been released,
    then what is there from earlier runs; if all that is left is in use, `reserve` waits.
    """

    limit: int
    names: dict[Path, str] = field(default_factory=dict)  # the hash of a link's content: equal ones share a blob
    holds: dict[Key, Mapping[Path, int]] = field(default_factory=dict)  # links in the cache, and what they weigh
    in_use: set[Key] = field(default_factory=set)
    released: list[Key] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()

    def found(self, key: Key, files: Mapping[Path, int], names: Mapping[Path, str]) -> None:
        """Take account of a checkpoint that is there from an earlier run."""
        with self._changed:
            self.names |= names
            self.holds[key] = files

    def reserve(self, key: Key, files: Mapping[Path, int], names: Mapping[Path, str]) -> None:
        """Make room for a checkpoint's files and take it into use; `names` are the hashes of what they hold."""
        check_fits(sum(files.values()), self.limit)
        with self._changed:
            self.names |= names
            self.holds[key] = files
            self.in_use.add(key)
            while self._used() > self.limit and key in self.in_use:
                if not self._evict_one():
                    self._changed.wait(1.0)

    def release(self, key: Key) -> None:
        """The checkpoint has been measured, or will not be."""
        with self._changed:
            if key in self.in_use:
                self.in_use.discard(key)
                self.released.append(key)
                while self._used() > self.limit and self._evict_one():
                    pass
                self._changed.notify_all()

    def _used(self) -> int:
        return sum({self.names.get(path, str(path)): size
                    for files in self.holds.values() for path, size in files.items()}.values())  # fmt: skip

    def _evict_one(self) -> bool:
        idle = [key for key in (*self.released, *self.holds) if key in self.holds and key not in self.in_use]
        if not idle:
            return False
        files = self.holds.pop(idle[0])
        self.released = [key for key in self.released if key != idle[0]]
        kept = {path.resolve() for others in self.holds.values() for path in others if path.exists()}
        for link in files:
            blob = link.resolve()
            link.unlink(missing_ok=True)
            if blob not in kept and not _is_linked(blob, link):
                blob.unlink(missing_ok=True)
        return True


def _is_linked(blob: Path, link: Path) -> bool:
    """Whether another snapshot of the same repo, of this series or not, still has the blob."""
    repo = blob.parent.parent
    if link.is_symlink() or not (repo / "snapshots").is_dir():
        return False
    return any(other.is_symlink() and other.resolve() == blob for other in (repo / "snapshots").rglob("*"))
