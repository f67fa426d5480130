"""What is asked of the hub: its branches, file lists, commits and files, through huggingface_hub's own client.

The client gives up at a single 503 on a file and hands through raw transport errors, so every call is repeated here;
it checks no content, so every weight file is compared with the hash that the hub publishes. File lists are kept
beside the files by commit, which never changes: what has been listed once is not asked for again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import WeakFileLock
from tqdm.auto import tqdm

from dynamics.checkpoint import hash_file
from dynamics.errors import CheckpointError

T = TypeVar("T")

WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each repetition
PATIENCE = 90.0  # seconds after which no call is repeated any more
DOWNLOADS_OF_A_DAMAGED_FILE = 3
LONGEST_WAIT = 120.0  # seconds that a hub may ask us to wait
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it. `sha` is the SHA-256 of its content; only large files have one."""

    size: int
    sha: str | None


@dataclass(frozen=True)
class Hub:
    """A hub, and where what it gives is kept. The token is taken from the environment and never kept or shown."""

    endpoint: str
    cache: Path
    offline: bool
    gave_up: list[str] = field(default_factory=list, compare=False)

    def refs(self, repo: str) -> dict[str, dict[str, str]]:
        """The commits of all branches and tags: {"branches": {name: commit}, "tags": {...}}."""

        def ask() -> dict[str, dict[str, str]]:
            refs = self._api().list_repo_refs(repo)
            return {
                "branches": {ref.name: _commit(ref.target_commit) for ref in refs.branches},
                "tags": {ref.name: _commit(ref.target_commit) for ref in refs.tags},
            }

        return self._listed(repo, "refs.json", ask, for_ever=False)

    def commits(self, repo: str, revision: str) -> list[tuple[str, str]]:
        """The commits of a branch with their titles, newest first."""

        def ask() -> list[tuple[str, str]]:
            return [(_commit(c.commit_id), c.title) for c in self._api().list_repo_commits(repo, revision=revision)]

        name = f"commits-{hashlib.sha256(revision.encode()).hexdigest()[:16]}.json"
        return [(commit, title) for commit, title in self._listed(repo, name, ask, for_ever=False)]

    def tree(self, repo: str, commit: str) -> dict[str, RemoteFile]:
        """All files of a commit by path, without downloading any."""

        def ask() -> dict[str, dict[str, Any]]:
            items = self._api().list_repo_tree(repo, recursive=True, revision=_commit(commit))
            files = (item for item in items if isinstance(item, RepoFile))
            return {f.path: asdict(RemoteFile(f.size, f.lfs.sha256 if f.lfs else None)) for f in files}

        listed = self._listed(repo, f"trees/{_commit(commit)}.json", ask, for_ever=True)
        return {path: RemoteFile(**file) for path, file in listed.items()}

    def has_tree(self, repo: str, commit: str) -> bool:
        """Whether the files of a commit are known without a request."""
        return (self._folder(repo) / "dynamics" / f"trees/{_commit(commit)}.json").exists()

    def download(self, repo: str, commit: str, path: str, expected: RemoteFile) -> tuple[Path, str | None]:
        """A file on this machine and, where the hub publishes its hash, that hash, which it was found to have."""
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            msg = f"{repo} lists a file at {path!r}, outside its own folder; it is not downloaded"
            raise CheckpointError(msg)
        damaged = 0

        def fetch() -> Path:
            nonlocal damaged
            local = Path(hf_hub_download(
                repo, path, revision=_commit(commit), cache_dir=self.cache, endpoint=self.endpoint,
                token=_token(), local_files_only=self.offline, tqdm_class=_Silent,
            ))  # fmt: skip
            if expected.sha is None or hash_file(local) == expected.sha:
                return local
            damaged += 1
            self._discard(local)
            msg = f"{repo} {path} at {commit[:12]} does not have the hash {expected.sha[:12]} that is published for it"
            if damaged == DOWNLOADS_OF_A_DAMAGED_FILE or self.offline:
                msg += f"; it was downloaded {damaged} times and not kept: the published file itself is damaged"
                raise CheckpointError(msg)
            raise _Passing(msg)

        return self._repeat(f"{repo} {path} at {commit[:12]}", fetch), expected.sha

    def sweep_orphans(self, repo: str) -> None:
        """Delete the partial files that a killed download left behind; those of a living one are locked."""
        locks = self.cache / ".locks" / self._folder(repo).name
        for partial in (self._folder(repo) / "blobs").glob("*.incomplete"):
            etag = partial.name.split(".")[0]
            locks.mkdir(parents=True, exist_ok=True)
            try:
                with WeakFileLock(locks / f"{etag}.lock", timeout=0.01):
                    partial.unlink(missing_ok=True)
            except TimeoutError:
                continue

    def snapshot(self, repo: str, commit: str) -> Path:
        """The folder that holds, or will hold, the files of a commit."""
        return self._folder(repo) / "snapshots" / _commit(commit)

    def _folder(self, repo: str) -> Path:
        if not _REPO.fullmatch(repo):
            msg = f"{repo!r} is not a repo of the hub; expected ORG/NAME, such as EleutherAI/pythia-70m"
            raise CheckpointError(msg)
        return self.cache / f"models--{repo.replace('/', '--')}"

    def _api(self) -> HfApi:
        return HfApi(endpoint=self.endpoint, token=_token())

    def _listed(self, repo: str, name: str, ask: Callable[[], Any], *, for_ever: bool) -> Any:
        kept = self._folder(repo) / "dynamics" / name
        if kept.exists() and (for_ever or self.offline):
            try:
                return json.loads(kept.read_text("utf-8"))
            except ValueError:
                kept.unlink()  # cut short by a kill: listed again
        if self.offline:
            msg = f"{repo} has not been listed before, and HF_HUB_OFFLINE forbids to ask; run once without it"
            raise NotThere(msg)
        answer = self._repeat(repo, ask)
        kept.parent.mkdir(parents=True, exist_ok=True)
        (self._folder(repo) / "snapshots").mkdir(exist_ok=True)  # without it other tools take the cache for damaged
        partial = kept.with_name(f"{kept.name}.{os.getpid()}.partial")
        partial.write_text(json.dumps(answer), "utf-8")
        partial.replace(kept)
        return answer

    def _repeat(self, what: str, ask: Callable[[], T]) -> T:
        begun = time.monotonic()
        # A hub that could not be reached with patience is asked just once more for each further thing.
        for wait in (None,) if self.gave_up else (*WAITS, None):
            try:
                with _plain_errors(what, self.endpoint):
                    answer = ask()
                self.gave_up.clear()
                return answer
            except _Passing as error:
                if wait is None or time.monotonic() - begun > PATIENCE:
                    self.gave_up.append(what)
                    msg = f"{what}: {error}, after {round(time.monotonic() - begun)} s of trying; try again later"
                    raise CheckpointError(msg) from error.__cause__
                time.sleep(max(wait, min(error.retry_after, LONGEST_WAIT)))
        raise AssertionError

    def _discard(self, link: Path) -> None:
        """Delete a file whose content is wrong, so that no other tool takes it for good."""
        blob = link.resolve()
        link.unlink(missing_ok=True)
        if self.cache.resolve() in blob.parents:
            blob.unlink(missing_ok=True)


class _Silent(tqdm):
    """No bar for each file: what is measured is reported by who asked for it."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **(settings | {"disable": True}))


class NotThere(CheckpointError):
    """The hub has no such repo, revision or file."""


class _Passing(Exception):
    """A failure that may be gone at the next try."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def connect() -> Hub:
    """The hub that the environment names: HF_ENDPOINT, HF_HUB_CACHE, HF_HUB_OFFLINE, read now."""
    cache = os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on") or constants.HF_HUB_OFFLINE
    return Hub((os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/"), Path(cache).expanduser(), offline)


def _token() -> str | bool:
    """The token of the environment; False keeps the client from looking for one elsewhere."""
    return os.environ.get("HF_TOKEN", "").strip() or False


def _commit(text: str) -> str:
    if not _COMMIT.fullmatch(text):
        msg = f"the hub named {text!r} as a commit; expected 40 hexadecimal digits"
        raise CheckpointError(msg)
    return text


@contextmanager
def _plain_errors(what: str, endpoint: str) -> Iterator[None]:
    """Sort the client's errors into those that may pass and those that will not, without what they say of requests."""
    try:
        yield
    except GatedRepoError as error:
        msg = f"{what} is gated: accept its terms at {endpoint} and set HF_TOKEN in the environment"
        raise NotThere(msg) from error
    except RevisionNotFoundError as error:
        msg = f"{what}: {endpoint} has no such revision; it may have been moved since it was listed"
        raise NotThere(msg) from error
    except RepositoryNotFoundError as error:
        msg = f"{what} is not at {endpoint}, or is private; check the name, and set HF_TOKEN if it is private"
        raise NotThere(msg) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise _unreachable(what, error) from error
    except EntryNotFoundError as error:
        msg = f"{what}: the file is listed but is not at {endpoint}"
        raise NotThere(msg) from error
    except HfHubHTTPError as error:
        raise _by_status(what, error) from error
    except httpx2.TransportError as error:
        msg = f"the connection failed ({type(error).__name__})"
        raise _Passing(msg) from error
    except OSError as error:
        if "Consistency check failed" not in str(error):
            raise
        msg = "the file that arrived is shorter than announced"
        raise _Passing(msg) from error


def _by_status(what: str, error: HfHubHTTPError) -> Exception:
    status = error.response.status_code if error.response is not None else 0
    if status in (408, 429) or status >= 500 or status == 0:
        waits = error.response.headers.get("Retry-After", "") if error.response is not None else ""
        return _Passing(f"the hub answered {status}", float(waits) if waits.isdigit() else 0.0)
    return CheckpointError(f"{what}: the hub answered {status}; expected 200")


def _unreachable(what: str, error: BaseException) -> Exception:
    """The client says "not cached" both for a file that is not there offline and for a hub that did not answer."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, FileMetadataError):
            return CheckpointError(f"{what}: the hub's answer lacks the headers that name its commit and hash")
        if isinstance(cause, HfHubHTTPError):
            return _by_status(what, cause)
        if isinstance(cause, httpx2.TransportError):
            return _Passing(f"the connection failed ({type(cause).__name__})")
        cause = cause.__cause__ or cause.__context__
    return CheckpointError(f"{what} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it")
