"""The page's addresses: a list of runs, each run's report while it grows, its SQL, its tables."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import uvicorn
from jinja2 import Template
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from dashboards.document import TEMPLATES, Document, compose, followed_html, html, summary_html
from dashboards.page.following import Following
from dashboards.page.guard import TokenGuard
from dashboards.page.query import MAX_LENGTH, ask
from dashboards.page.snapshot import Snapshot, Watched
from dynamics.errors import DynamicsError, UsageError, unknown
from dynamics.store import FILE_NAME, Store

LOOPBACK = ("127.0.0.1", "localhost")
PORT = 8765
MAX_POINTS = 20_000  # that go to the page before they are drawn anew
MAX_BODY = 6 * MAX_LENGTH  # bytes of JSON: a character can take six
FILES = tuple(f"{table}.{kind}" for table in ("measurements", "events", "checkpoints") for kind in ("csv", "parquet"))


class Runs:
    """The runs of a folder, each with its newest snapshot and the document made from it."""

    def __init__(self, folder: Path) -> None:
        own = (
            [folder] if (folder / FILE_NAME).exists() else sorted(path.parent for path in folder.glob(f"*/{FILE_NAME}"))
        )
        if not own:
            msg = f"no run in {folder}: neither it nor a folder in it holds {FILE_NAME}; 'dynamics run' makes one"
            raise UsageError(msg)
        self.watched = {path.resolve().name: Watched(path) for path in own}
        self._followed = {name: Following() for name in self.watched}
        self._documents: dict[str, tuple[Snapshot, Document]] = {}
        self._drawing = threading.Lock()

    def snapshot(self, name: str) -> Snapshot:
        """The newest state of a run."""
        if name not in self.watched:
            raise unknown(name, self.watched, kind="run", listed_by="the page's list of runs")
        return self.watched[name].newest()

    def document(self, name: str) -> tuple[Snapshot, Document]:
        """The run as last drawn; drawn anew only where it never was."""
        known = self._documents.get(name)
        if known is not None:
            return known
        with self._drawing:
            return self._documents.get(name) or self._draw(name)

    def renew(self, name: str) -> None:
        """Begin to draw the newest state where it is not the one that was drawn, behind whoever asks for points."""
        drawn = self.drawn(name)
        stale = drawn is None or drawn.stamp != self.snapshot(name).stamp
        if stale and self._drawing.acquire(blocking=False):
            threading.Thread(target=self._draw_behind, args=(name,), daemon=True).start()

    def drawn(self, name: str) -> Snapshot | None:
        """The state that was last drawn."""
        return self._documents[name][0] if name in self._documents else None

    def points(self, name: str) -> list[dict[str, Any]]:
        """The measurements that were stored since the run was drawn, the newest `MAX_POINTS` of them."""
        drawn, now = self.document(name)[0].frames.measurements, self.snapshot(name).frames.measurements
        fresh = now.filter(pl.col("value").is_finite()).join(drawn, on=("curve", "stage", "step"), how="anti",
                                                             nulls_equal=True)  # fmt: skip
        stderr = pl.when(pl.col("stderr").is_finite()).then("stderr").alias("stderr")
        return fresh.sort("step").tail(MAX_POINTS).select("curve", "step", "value", stderr, "n").to_dicts()

    def _draw_behind(self, name: str) -> None:
        try:
            self._draw(name)
        finally:
            self._drawing.release()

    def _draw(self, name: str) -> tuple[Snapshot, Document]:
        snapshot = self.snapshot(name)
        title = snapshot.frames.recipe_title() or name
        self._documents[name] = (snapshot, compose(snapshot.frames, title))
        return self._documents[name]

    def followed(self, name: str, snapshot: Snapshot) -> str:
        """What is known so far of the events of a run that still grows, as HTML. Begins a look where one is due."""
        following = self._followed[name]
        following.look(snapshot.frames)
        return followed_html(following.told(snapshot.frames))

    def close(self) -> None:
        """Remove all copies and end what still looks for events."""
        for watched in self.watched.values():
            watched.close()
        for following in self._followed.values():
            following.close()


def application(folder: str | Path, *, token: str | None = None) -> Starlette:
    """The page as an ASGI application. Without a token it answers only to loopback names."""
    runs = Runs(Path(folder))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        runs.close()

    guard = (
        Middleware(TokenGuard, token=token)
        if token
        else Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))
    )
    routes = [
        Route("/", partial(_answer, runs, _list)),
        Route("/runs/{run}/", partial(_answer, runs, _page)),
        Route("/runs/{run}/stamp", partial(_answer, runs, _stamp)),
        Route("/runs/{run}/payload", partial(_answer, runs, _payload)),
        Route("/runs/{run}/points", partial(_answer, runs, _points)),
        Route("/runs/{run}/files/{file}", partial(_answer, runs, _file)),
        Route("/runs/{run}/query", partial(_query, runs), methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[guard], lifespan=lifespan)


async def _answer(runs: Runs, make: Callable[[Runs, Request], Response], request: Request) -> Response:
    """Answer away from the event loop: drawing takes a second and must not hold up other readers."""
    try:
        return await run_in_threadpool(make, runs, request)
    except DynamicsError as error:
        return JSONResponse({"error": str(error)}, status_code=404)


def _list(runs: Runs, _: Request) -> Response:
    if len(runs.watched) == 1:
        return RedirectResponse(f"runs/{next(iter(runs.watched))}/")
    template = Template((TEMPLATES / "runs.html").read_text(encoding="utf-8"), autoescape=True)
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return HTMLResponse(template.render(names=list(runs.watched), style=style))


def _page(runs: Runs, request: Request) -> Response:
    snapshot, document = runs.document(request.path_params["run"])
    return HTMLResponse(html(document, live=_hash(snapshot)))


def _hash(snapshot: Snapshot) -> str:
    return hashlib.sha256(repr(snapshot.stamp).encode()).hexdigest()


def _stamp(runs: Runs, request: Request) -> Response:
    name = request.path_params["run"]
    snapshot = runs.snapshot(name)
    runs.renew(name)
    finished = snapshot.frames.runs.height > 0 and not snapshot.frames.runs["finished"].has_nulls()
    followed = "" if finished else runs.followed(name, snapshot)
    drawn = runs.drawn(name)
    note = "finished" if finished else "live"
    return JSONResponse({"stamp": _hash(snapshot), "drawn": drawn and _hash(drawn), "note": note, "followed": followed})


def _payload(runs: Runs, request: Request) -> Response:
    snapshot, document = runs.document(request.path_params["run"])
    captions = [figure["caption"] for figure in document.words["figures"]]
    answer = {"payload": document.payload(), "summary": summary_html(document), "facts": document.words["facts"]}
    return JSONResponse({**answer, "captions": captions, "stamp": _hash(snapshot)})


def _points(runs: Runs, request: Request) -> Response:
    return JSONResponse(runs.points(request.path_params["run"]))


def _file(runs: Runs, request: Request) -> Response:
    snapshot, file = runs.snapshot(request.path_params["run"]), request.path_params["file"]
    table, _, kind = file.partition(".")
    if file not in FILES:
        raise unknown(file, FILES, kind="file", listed_by="the page")
    with Store(snapshot.folder, read_only=True) as store:
        frame = store.read(table)
    buffer = io.BytesIO()
    if kind == "csv":
        frame.write_csv(buffer)
    else:
        frame.write_parquet(buffer)
    headers = {"Content-Disposition": f'attachment; filename="{file}"', "X-Content-Type-Options": "nosniff"}
    return Response(buffer.getvalue(), media_type="application/octet-stream", headers=headers)


async def _body(request: Request) -> bytes:
    """What was sent, read no further than a query can be long. Raises UsageError for more."""
    told = b""
    async for part in request.stream():
        told += part
        if len(told) > MAX_BODY:
            msg = f"more than {MAX_BODY:,} bytes were sent; a query has at most {MAX_LENGTH:,} characters"
            raise UsageError(msg)
    return told


async def _query(runs: Runs, request: Request) -> Response:
    # A form on a stranger's page cannot send JSON here without the browser asking first, and nobody says yes.
    if request.headers.get("content-type") != "application/json":
        return JSONResponse({"error": "send the query as application/json"}, status_code=415)
    try:
        sql = str(json.loads(await _body(request))["sql"])
        snapshot = await run_in_threadpool(runs.snapshot, request.path_params["run"])
        answer = await run_in_threadpool(ask, snapshot.folder, sql)
    except (ValueError, KeyError, TypeError, DynamicsError) as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    body = {"columns": answer.columns, "rows": answer.rows, "more": answer.more}
    return JSONResponse(body)


def serve(
    folder: str | Path,
    port: int = PORT,
    *,
    host: str = "127.0.0.1",
    public: bool = False,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serve the page until interrupted. An address other than loopback needs `public`, and then a token to enter.

    `announce` is told the address to open. Raises UsageError where the folder has no run or the address is not allowed.
    """
    if host not in LOOPBACK and not public:
        msg = f"the page would answer at {host}, beyond this machine; expected {LOOPBACK[0]}, or say that it is public"
        raise UsageError(msg)
    token = secrets.token_urlsafe(24) if public else None
    app = application(folder, token=token)
    if announce is not None:
        announce(f"http://{host}:{port}/" + (f"?token={token}" if token else ""))
    uvicorn.run(app, host=host, port=port, log_level="warning")
