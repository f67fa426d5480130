"""A repo's files on this machine, in the layout of huggingface_hub's own cache, each checked against its hash.

The client checks no content, reads every file twice where one hashes it afterwards, and begins a killed download
again. Here content is hashed while it arrives, and a download that was cut off or killed goes on where it stopped.
Its partial file is named by the hash of the whole, so that nothing but the same content ever continues it.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import httpx2
from huggingface_hub.utils import WeakFileLock

from dynamics.errors import CheckpointError
from dynamics.sources.hub_errors import Passing

PARTIAL = ".dynamics.incomplete"
WORTH_GOING_ON = 1 << 20  # bytes; a connection that brought as many before it broke is no failed attempt
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

Get = Callable[[Mapping[str, str]], AbstractContextManager[httpx2.Response]]


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it: a large one has the SHA-256 of its content, any other git's hash of it."""

    size: int
    sha: str | None
    oid: str = ""

    @property
    def name(self) -> str:
        """What the content is called in the cache."""
        name = self.sha or self.oid
        if not _HASH.fullmatch(name):
            msg = f"the hub named {name!r} as the hash of a file; expected 40 or 64 hexadecimal digits"
            raise CheckpointError(msg)
        return name

    def hasher(self) -> Any:
        """A new hash that the content's must end as."""
        return hashlib.sha256() if self.sha else hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)


class Damaged(Exception):
    """What is here, or has arrived, is not what was published."""


@dataclass(frozen=True)
class Shelf:
    """The folder of one repo in the cache. `checked` are the contents that this process has found to be right."""

    folder: Path
    checked: dict[Path, tuple[int, int]] = field(default_factory=dict, compare=False)

    def find(self, link: Path, file: RemoteFile) -> bool:
        """Whether the file is here, under `link` or as the equal content of another commit, which is then linked.

        Raises `Damaged`, and deletes it, where its content is not what was published.
        """
        blob = link.resolve() if link.exists() else self._blob(file)
        if not blob.exists():
            return False
        if self.checked.get(blob) != _stamp(blob):
            with blob.open("rb") as content:
                digest = _hash_rest(content, file)
            if digest.hexdigest() != file.name:
                link.unlink(missing_ok=True)
                if self.folder.resolve() in blob.resolve().parents:
                    blob.unlink(missing_ok=True)
                raise Damaged
            self.checked[blob] = _stamp(blob)
        if not link.exists():
            _link(blob, link)
        return True

    def receive(self, link: Path, file: RemoteFile, get: Get) -> None:
        """Download a file, from where its partial file ends if there is one. Raises `Damaged` for wrong content."""
        blob = self._blob(file)
        blob.parent.mkdir(parents=True, exist_ok=True)
        with self._lock(file.name):
            if blob.exists() and self.find(link, file):
                return  # by another process, in the meantime
            partial = blob.with_name(blob.name + PARTIAL)
            with partial.open("a+b") as content:
                content.seek(0)
                digest = _fill(content, _hash_rest(content, file), file, get)
            if digest.hexdigest() != file.name:
                partial.unlink()
                raise Damaged
            partial.replace(blob)
            self.checked[blob.resolve()] = _stamp(blob)
            _link(blob, link)

    def sweep(self, wanted: Collection[str]) -> None:
        """Delete the partial files of killed downloads, but for ours of contents that are still wanted."""
        for partial in (self.folder / "blobs").glob("*.incomplete"):
            name = partial.name.split(".")[0]
            if partial.name == name + PARTIAL and name in wanted:
                continue
            try:
                with self._lock(name, timeout=0.01):
                    partial.unlink(missing_ok=True)
            except TimeoutError:
                continue  # a living download holds it

    def _blob(self, file: RemoteFile) -> Path:
        return self.folder / "blobs" / file.name

    def _lock(self, name: str, timeout: float | None = None) -> AbstractContextManager[Any]:
        """The lock that huggingface_hub takes for the same content."""
        locks = self.folder.parent / ".locks" / self.folder.name
        locks.mkdir(parents=True, exist_ok=True)
        return WeakFileLock(locks / f"{name}.lock", timeout=timeout)


def _fill(content: BinaryIO, digest: Any, file: RemoteFile, get: Get) -> Any:
    """Append what is missing; the hash of the whole."""
    while (begun_at := content.tell()) != file.size or file.size == 0:
        if begun_at > file.size:
            break  # the wrong hash will show
        try:
            with get({"Range": f"bytes={begun_at}-"} if begun_at else {}) as response:
                if begun_at and not response.headers.get("Content-Range", "").startswith(f"bytes {begun_at}-"):
                    content.truncate(0)  # the server sends the whole again
                    content.seek(0)
                    digest, begun_at = file.hasher(), 0
                for piece in response.iter_bytes():
                    content.write(piece)
                    digest.update(piece)
                    if content.tell() > file.size:
                        break
        except httpx2.TransportError:
            if content.tell() - begun_at < WORTH_GOING_ON:
                raise
        if file.size == 0:
            break
        if content.tell() == begun_at:
            msg = "the file that arrived is shorter than announced"
            raise Passing(msg)
    return digest


def _hash_rest(content: BinaryIO, file: RemoteFile) -> Any:
    digest = file.hasher()
    while piece := content.read(1 << 20):
        digest.update(piece)
    return digest


def _stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


def _link(blob: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    try:
        # Relative, as huggingface_hub's are, so that a cache can be moved.
        link.symlink_to(Path(*[".."] * (len(link.parent.relative_to(blob.parent.parent).parts)), "blobs", blob.name))
    except (OSError, ValueError):
        shutil.copyfile(blob, link)  # where links are not allowed
