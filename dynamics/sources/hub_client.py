"""What is asked of the hub: its branches, file lists, commits and files, through huggingface_hub's own client.

The client gives up at a single 503 on a file and hands through raw transport errors, so every call is repeated here;
what files hold is compared with the hashes that the hub publishes. File lists are kept
beside the files by commit, which never changes: what has been listed once is not asked for again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from dynamics.errors import CheckpointError, Unanswered, UsageError
from dynamics.redaction import redact
from dynamics.sources.hub_errors import NotAsked, NotThere, Passing, plain_errors
from dynamics.sources.hub_files import Damaged, RemoteFile, Shelf

T = TypeVar("T")

WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each repetition
PATIENCE = 90.0  # seconds after which no call is repeated any more
DOWNLOADS_OF_A_DAMAGED_FILE = 3
LONGEST_WAIT = 120.0  # seconds; a hub that asks for more is not waited for
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Hub:
    """A hub, and where what it gives is kept. The token is taken from the environment and never kept or shown.
    Its repos are models, or data sets."""

    endpoint: str
    cache: Path
    offline: bool
    kind: Literal["model", "dataset"] = "model"
    gave_up: list[str] = field(default_factory=list, compare=False)
    shelves: dict[str, Shelf] = field(default_factory=dict, compare=False)

    @property
    def address(self) -> str:
        """The endpoint as anybody may see it."""
        return redact(self.endpoint)

    def resolve(self, repo: str, revision: str) -> str:
        """The commit of a branch or a tag; a commit is its own."""
        if _COMMIT.fullmatch(revision):
            return revision
        refs = self.refs(repo)
        known = refs["tags"] | refs["branches"]
        if revision not in known:
            msg = f"{repo} has no revision {revision!r}; it has {', '.join(sorted(known)[:8])}"
            raise NotThere(msg)
        return known[revision]

    def refs(self, repo: str) -> dict[str, dict[str, str]]:
        """The commits of all branches and tags: {"branches": {name: commit}, "tags": {...}}."""

        def ask() -> dict[str, dict[str, str]]:
            refs = self._api().list_repo_refs(repo, repo_type=self.kind)
            return {
                "branches": {ref.name: _commit(ref.target_commit) for ref in refs.branches},
                "tags": {ref.name: _commit(ref.target_commit) for ref in refs.tags},
            }

        return self._listed(repo, "refs.json", ask, for_ever=False)

    def commits(self, repo: str, revision: str) -> list[tuple[str, str]]:
        """The commits of a branch with their titles, newest first."""

        def ask() -> list[tuple[str, str]]:
            pages = self._pages(repo, f"commits/{quote(revision, safe='')}")
            return [(_commit(c["id"]), "".join(t if t.isprintable() else " " for t in c["title"])) for c in pages]

        name = f"commits-{hashlib.sha256(revision.encode()).hexdigest()[:16]}.json"
        return [(commit, title) for commit, title in self._listed(repo, name, ask, for_ever=False)]

    def tree(self, repo: str, commit: str) -> dict[str, RemoteFile]:
        """All files of a commit by path, without downloading any."""

        def ask() -> dict[str, dict[str, Any]]:
            items = self._pages(repo, f"tree/{_commit(commit)}", recursive="true", expand="false")
            # No file system takes control characters, and no file that is wanted has one in its name.
            files = (item for item in items if item["type"] == "file" and item["path"].isprintable())
            return {f["path"]: asdict(RemoteFile(f["size"], f.get("lfs", {}).get("oid"), f["oid"])) for f in files}

        listed = self._listed(repo, f"files/{_commit(commit)}.json", ask, for_ever=True)
        return {path: RemoteFile(**file) for path, file in listed.items()}

    def has_tree(self, repo: str, commit: str) -> bool:
        """Whether the files of a commit are known without a request."""
        return (self._folder(repo) / "dynamics" / f"files/{_commit(commit)}.json").exists()

    def download(self, repo: str, commit: str, path: str, expected: RemoteFile) -> tuple[Path, str | None]:
        """A file on this machine and, where the hub publishes its SHA-256, that hash, which it was found to have."""
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            msg = f"{repo} lists a file at {path!r}, outside its own folder; it is not downloaded"
            raise CheckpointError(msg)
        what = f"{repo} {path} at {commit[:12]}"
        link, shelf = self.snapshot(repo, commit) / path, self._shelf(repo)
        damaged = 0

        def fetch() -> Path:
            nonlocal damaged
            try:
                if not shelf.find(link, expected):
                    if self.offline:
                        msg = f"{what} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it"
                        raise CheckpointError(msg)
                    shelf.receive(link, expected, lambda headers: self._get(repo, commit, path, headers))
                return link
            except Damaged as error:
                damaged += 1
                msg = f"{what} does not have the hash {expected.name[:12]} that is published for it"
                if damaged == DOWNLOADS_OF_A_DAMAGED_FILE or self.offline:
                    msg += f"; it was downloaded {damaged} times and not kept: the published file itself is damaged"
                    raise CheckpointError(msg) from error
                raise Passing(msg) from error
            except OSError as error:
                if error.errno is None:  # the client's own errors are of this kind too
                    raise
                raise _not_written(link.parent, error) from error

        return self._repeat(what, fetch), expected.sha

    @contextmanager
    def _get(self, repo: str, commit: str, path: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        """A file's content. The client drops the token where it is sent on to another origin."""
        with get_session().stream(
            "GET", hf_hub_url(repo, path, revision=_commit(commit), endpoint=self.endpoint, repo_type=self.kind),
            # Content that is compressed on the way has other positions to go on from.
            headers=build_hf_headers(token=_token()) | {"Accept-Encoding": "identity"} | dict(headers),
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        ) as response:  # fmt: skip
            hf_raise_for_status(response)
            yield response

    def sweep_orphans(self, repo: str, wanted: Collection[str] = ()) -> None:
        """Delete the partial files that a killed download left behind, but those of contents that are wanted."""
        self._shelf(repo).sweep(wanted)

    def snapshot(self, repo: str, commit: str) -> Path:
        """The folder that holds, or will hold, the files of a commit."""
        return self._folder(repo) / "snapshots" / _commit(commit)

    def _folder(self, repo: str) -> Path:
        if not _REPO.fullmatch(repo):
            msg = f"{repo!r} is not a repo of the hub; expected ORG/NAME, such as EleutherAI/pythia-70m"
            raise CheckpointError(msg)
        return self.cache / f"{self.kind}s--{repo.replace('/', '--')}"

    def _shelf(self, repo: str) -> Shelf:
        return self.shelves.setdefault(repo, Shelf(self._folder(repo)))

    def _pages(self, repo: str, what: str, **parameters: str) -> Iterator[dict[str, Any]]:
        """The entries of a list, page by page."""
        self._folder(repo)  # refuses what is no repo's name
        address: str | None = f"{self.endpoint}/api/{self.kind}s/{repo}/{what}"
        while address:
            answer = get_session().get(address, params=parameters or None, headers=build_hf_headers(token=_token()),
                                       timeout=constants.HF_HUB_ETAG_TIMEOUT)  # fmt: skip
            hf_raise_for_status(answer)
            yield from answer.json()
            address, parameters = self._here(answer.links.get("next", {}).get("url")), {}

    def _here(self, link: str | None) -> str | None:
        """The next page, asked of this hub: a mirror hands on its upstream's address, where the token has no business,
        and the client would send it along."""
        if link is None:
            return None
        there, here = urlsplit(link), urlsplit(self.endpoint)
        path = there.path if there.netloc == here.netloc else here.path + there.path
        return urlunsplit((here.scheme, here.netloc, path, there.query, ""))

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
            raise NotAsked(msg)
        answer = self._repeat(repo, ask)
        partial = kept.with_name(f"{kept.name}.{os.getpid()}.{threading.get_ident()}.partial")
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            (self._folder(repo) / "snapshots").mkdir(exist_ok=True)  # without it other tools take the cache for damaged
            partial.write_text(json.dumps(answer), "utf-8")
            partial.replace(kept)
        except OSError as error:
            raise _not_written(kept.parent, error) from error
        return answer

    def _repeat(self, what: str, ask: Callable[[], T]) -> T:
        begun = time.monotonic()
        # A hub that could not be reached with patience is asked just once more for each further thing.
        for wait in (None,) if self.gave_up else (*WAITS, None):
            try:
                with plain_errors(what, self.address):
                    answer = ask()
                self.gave_up.clear()
                return answer
            except Passing as error:
                if error.retry_after > LONGEST_WAIT:
                    self.gave_up.append(what)
                    msg = f"{what}: {error} and asks to wait {error.retry_after:.0f} s; run again after that"
                    raise Unanswered(msg) from error.__cause__
                if wait is None or time.monotonic() - begun > PATIENCE:
                    self.gave_up.append(what)
                    tried = f"after {round(time.monotonic() - begun)} s of trying"
                    msg = f"{what}: {error} at {self.address}, {tried}; try again later"
                    raise Unanswered(msg) from error.__cause__
                time.sleep(max(wait, error.retry_after))
        raise AssertionError


def connect() -> Hub:
    """The hub that the environment names: HF_ENDPOINT, HF_HUB_CACHE, HF_HUB_OFFLINE, read now."""
    cache = os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on") or constants.HF_HUB_OFFLINE
    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT or "https://huggingface.co"
    if not endpoint.startswith(("http://", "https://")):
        shown = endpoint.rsplit("@", 1)[-1]
        msg = f"HF_ENDPOINT is {shown!r}; expected an address, such as https://huggingface.co"
        raise UsageError(msg)
    return Hub(endpoint.rstrip("/"), Path(cache).expanduser(), offline)


def _token() -> str | bool:
    """The token of the environment; False keeps the client from looking for one elsewhere."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if not all("!" <= character <= "~" for character in token):
        msg = "HF_TOKEN holds a character that no token has, such as a space within it; copy it from the hub again"
        raise UsageError(msg)
    return token or False


def _not_written(place: Path, error: OSError) -> CheckpointError:
    """A full disk or a folder that may not be written to."""
    msg = (
        f"cannot write to {place}: {error.strerror or error}; free some space, or set HF_HUB_CACHE to a folder that "
        "can be written to, and run again: what has arrived is kept"
    )
    return CheckpointError(msg)


def _commit(text: str) -> str:
    if not _COMMIT.fullmatch(text):
        msg = f"the hub named {text!r} as a commit; expected 40 hexadecimal digits"
        raise CheckpointError(msg)
    return text
