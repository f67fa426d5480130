"""A hub on loopback that the real huggingface_hub and transformers clients talk to, and that fails when told to.

It serves branches, tags, commits, file lists and files; `fail` plants a fault for coming requests, `origin` moves
files to another server as a content network does, `bytes_per_second` throttles them, and `log` remembers every request
with whether it carried a token.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

_API = r"/api/(?:models|datasets)/([^/]+/[^/]+?)(?:/(refs|tree|commits|revision|paths-info)(?:/([^/]+))?(?:/.*)?)?/?"
_FILE = r"(?:/datasets)?/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"
LARGE = (".safetensors", ".bin", ".pth", ".pt", ".parquet")
PAGE = 5  # files on one page of a list
DATE = "2026-01-01T00:00:00.000Z"


@dataclass
class Fault:
    """What to do wrong: answer `status`, `close` the connection, `cut` the body, `flip` a byte, give a wrong `etag`,
    answer `slow`ly, send the `whole` where a part is asked for. `times` requests are hit; -1 is all of them."""

    method: str
    contains: str
    kind: str
    value: Any = None
    times: int = 1


@dataclass
class Repo:
    """Commits by hash, what branches and tags point at, and each branch's commits with their titles, oldest first."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    history: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    gated: bool = False

    def commit(self, files: dict[str, bytes], *, branch: str | None = None, tag: str | None = None,
               title: str = "add files") -> str:  # fmt: skip
        """A new commit holding exactly these files."""
        salt = f"{branch} {tag} {title} {len(self.commits)}"
        commit = hashlib.sha1(salt.encode()).hexdigest()
        self.commits[commit] = files
        if branch is not None:
            self.branches[branch] = commit
            self.history.setdefault(branch, []).append((commit, title))
        if tag is not None:
            self.tags[tag] = commit
        return commit

    def resolve(self, revision: str) -> str | None:
        if revision in self.commits:
            return revision
        return self.branches.get(revision) or self.tags.get(revision)


class StandIn:
    """The server. `url` is the endpoint."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults: list[Fault] = []
        self.log: list[tuple[str, str, bool]] = []
        self.ranges: list[str] = []  # those that were asked for
        self.token: str | None = None
        self.origin: StandIn | None = None
        self.bytes_per_second: float | None = None
        self.upstream: StandIn | None = None  # whose addresses are handed on for the next page, as mirrors do
        self.moved: dict[str, str] = {}  # repos that have another name now, to which requests are sent on
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def repo(self, name: str) -> Repo:
        return self.repos.setdefault(name, Repo())

    def fail(self, method: str, contains: str, kind: str, value: Any = None, times: int = 1) -> None:
        self.faults.append(Fault(method, contains, kind, value, times))

    def fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.method == method and fault.contains in path and fault.times:
                    fault.times -= 1
                    return fault
        return None

    def requests(self, method: str, contains: str = "") -> list[str]:
        return [path for verb, path, _ in self.log if verb == method and contains in path]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: StandIn
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for its headers to be acknowledged

    def log_message(self, format: str, *args: object) -> None:
        """Requests are kept in `log`, not printed."""

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        token = self.headers.get("Authorization", "")
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append((method, path, bool(token)))
        for old, new in self.hub.moved.items():
            if f"/{old}/" in path:
                self._send(307, b"", {"Location": self.hub.url + self.path.replace(f"/{old}/", f"/{new}/")}, method)
                return
        fault = self.hub.fault(method, path)
        if fault and fault.kind == "close":
            self.close_connection = True
            return
        if fault and fault.kind == "slow":
            time.sleep(fault.value)
        if fault and fault.kind == "status":
            status, headers = fault.value if isinstance(fault.value, tuple) else (fault.value, {})
            self._send(status, b"", headers, method)
            return
        if path.startswith(("/api/models/", "/api/datasets/")):
            self._api(path, method, token)
        elif match := re.fullmatch(_FILE, path):
            self._file(match, method, token, fault)
        else:
            self._send(404, b"", {}, method)

    def _repo(self, name: str, method: str, token: str) -> Repo | None:
        repo = self.hub.repos.get(name)
        if repo is None:
            self._send(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository Not Found"}, method)
            return None
        if repo.gated and token != f"Bearer {self.hub.token}":
            self._send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}, method)
            return None
        return repo

    def _api(self, path: str, method: str, token: str) -> None:
        match = re.fullmatch(_API, path)
        repo = self._repo(match[1], method, token) if match else None
        if match is None or repo is None:
            if match is None:
                self._send(404, b"", {}, method)
            return
        if match[2] == "refs":
            self._json({
                kind: [{"name": name, "ref": f"refs/{ref}/{name}", "targetCommit": commit}
                       for name, commit in getattr(repo, kind).items()]
                for kind, ref in (("branches", "heads"), ("tags", "tags"))
            } | {"converts": []}, method)  # fmt: skip
            return
        commit = repo.resolve(match[3] or "main")
        if commit is None:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}, method)
        elif match[2] == "commits":
            by_commit = (h for h in repo.history.values() if commit in dict(h))
            history = repo.history.get(match[3]) or next(by_commit, [])
            self._json([{"id": sha, "title": title, "message": "", "date": DATE, "authors": []}
                        for sha, title in reversed(history)], method)  # fmt: skip
        elif match[2] in ("revision", None):
            siblings = [{"rfilename": name} for name in repo.commits[commit]]
            self._json({"id": match[1], "modelId": match[1], "sha": commit, "siblings": siblings, "tags": [],
                        "private": False, "downloads": 0, "likes": 0}, method)  # fmt: skip
        elif match[2] == "paths-info":
            asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).get("paths", [])
            files = repo.commits[commit]
            self._json([_item(name, files[name]) for name in asked if name in files], method)
        else:
            self._tree(repo.commits[commit], method)

    def _tree(self, files: dict[str, bytes], method: str) -> None:
        start = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
        names = sorted(files)
        items = [_item(name, files[name]) for name in names[start : start + PAGE]]
        more = start + PAGE < len(names)
        address = urlsplit(self.path).path
        host = (self.hub.upstream or self.hub).url
        link = {"Link": f'<{host}{address}?recursive=true&cursor={start + PAGE}>; rel="next"'} if more else {}
        self._json(items, method, link)

    def _file(self, match: re.Match[str], method: str, token: str, fault: Fault | None) -> None:
        repo = self._repo(match["repo"], method, token)
        if repo is None:
            return
        commit = repo.resolve(match["revision"])
        if commit is None:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "no revision"}, method)
            return
        content = repo.commits[commit].get(match["path"])
        if content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Error-Message": "no entry",
                                  "X-Repo-Commit": commit}, method)  # fmt: skip
            return
        is_large = match["path"].endswith(LARGE)
        etag = hashlib.sha256(content).hexdigest() if is_large else _git_oid(content)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if fault and fault.kind == "etag":
            headers["ETag"] = f'"{fault.value}"'
        if self.hub.origin is not None and is_large:
            headers |= {"Location": f"{self.hub.origin.url}{self.path}", "X-Linked-Etag": headers["ETag"],
                        "X-Linked-Size": str(len(content))}  # fmt: skip
            self._send(302, b"", headers, method)
            return
        status = 200
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        self.hub.ranges += [span[0]] if span else []
        if span and not (fault and fault.kind == "whole"):
            first, last = int(span[1]), min(int(span[2] or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        if fault and fault.kind == "flip":
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        cut = fault.value if fault and fault.kind == "cut" else None
        self._send(status, content, headers, method, cut=cut, slowly=is_large)

    def _json(self, value: Any, method: str, headers: dict[str, str] | None = None) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"} | (headers or {}), method)

    def _send(self, status: int, body: bytes, headers: dict[str, str], method: str, *, cut: int | None = None,
              slowly: bool = False) -> None:  # fmt: skip
        try:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if method == "HEAD":
                return
            if cut is not None:
                self.wfile.write(body[:cut])
                self.wfile.flush()
                self.close_connection = True
                return
            rate = self.hub.bytes_per_second if slowly else None
            if rate is None:
                self.wfile.write(body)
                return
            began = time.monotonic()
            piece = max(1, int(rate / 50))
            for start in range(0, len(body), piece):
                self.wfile.write(body[start : start + piece])
                time.sleep(max(0.0, began + min(start + piece, len(body)) / rate - time.monotonic()))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


def _item(name: str, content: bytes) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": _git_oid(content)}
    if name.endswith(LARGE):
        item["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return item


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def hub(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A fresh stand-in that the environment names as the hub, and an empty cache."""
    import dynamics.sources.hub_client as client

    stand_in = StandIn()
    monkeypatch.setenv("HF_ENDPOINT", stand_in.url)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(client, "WAITS", (0.01, 0.01, 0.01))
    yield stand_in
    stand_in.close()
