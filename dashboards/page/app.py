"""The page's addresses: a list of runs, each run's report while it grows, its SQL, its tables and figures."""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

import uvicorn
from jinja2 import Template
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from dashboards.document import TEMPLATES, html, sections
from dashboards.page import downloads
from dashboards.page.guard import TokenGuard
from dashboards.page.query import MAX_LENGTH, Answer, ask
from dashboards.page.runs import Runs
from dashboards.page.snapshot import Snapshot
from dynamics.errors import DynamicsError, UsageError

LOOPBACK = ("127.0.0.1", "localhost")
EVERYWHERE = ("0.0.0.0", "::")
PORT = 8765
MAX_BODY = 6 * MAX_LENGTH  # bytes of JSON: a character can take six
# No other site shows the page inside its own, learns its address, or keeps a state of it.
HEADERS = {"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


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
        Route("/runs/{run}/files/{file}", partial(_answer, runs, _taken(downloads.table))),
        Route("/runs/{run}/figures/{file}", partial(_answer, runs, _taken(downloads.figure))),
        Route("/runs/{run}/query", partial(_query, runs), methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[guard], lifespan=lifespan)


async def _answer(runs: Runs, make: Callable[[Runs, Request], Response], request: Request) -> Response:
    """Answer away from the event loop: drawing takes a second and must not hold up other readers."""
    try:
        return await run_in_threadpool(make, runs, request)
    except DynamicsError as error:
        if "text/html" in request.headers.get("accept", ""):
            return await run_in_threadpool(_picker, runs, request, str(error))
        return JSONResponse({"error": str(error)}, status_code=404)


def _list(runs: Runs, request: Request) -> Response:
    names = runs.names()
    return RedirectResponse(f"runs/{quote(names[0], safe='')}/") if len(names) == 1 else _picker(runs, request)


def _picker(runs: Runs, request: Request, said: str = "") -> Response:
    """The list of runs; below what could not be done, where there is something to say."""
    template = Template((TEMPLATES / "runs.html").read_text(encoding="utf-8"), autoescape=True)
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    top = "../" * (request.url.path.count("/") - 1)  # relative, for a proxy may put the page below another address
    told = [{**run, "at": f"{top}runs/{quote(run['name'], safe='')}/"} for run in runs.listed()]
    page = template.render(runs=told, style=style, said=said, folder=runs.folder.resolve().name)
    return HTMLResponse(page, status_code=404 if said else 200, headers=HEADERS)


def _page(runs: Runs, request: Request) -> Response:
    snapshot, document = runs.document(request.path_params["run"])
    return HTMLResponse(html(document, live=_hash(snapshot), tables=downloads.TABLES), headers=HEADERS)


def _hash(snapshot: Snapshot) -> str:
    return hashlib.sha256(repr(snapshot.stamp).encode()).hexdigest()


def _stamp(runs: Runs, request: Request) -> Response:
    name = request.path_params["run"]
    snapshot = runs.snapshot(name)
    runs.renew(name)
    state = runs.of(name).state()
    followed = "" if state.startswith("finished") else runs.followed(name, snapshot)
    drawn = runs.drawn(name)
    return JSONResponse({"stamp": _hash(snapshot), "drawn": drawn and _hash(drawn), "state": state,
                         "followed": followed})  # fmt: skip


def _payload(runs: Runs, request: Request) -> Response:
    snapshot, document = runs.document(request.path_params["run"])
    answer = {"payload": document.payload(), "sections": sections(document), "stamp": _hash(snapshot)}
    return JSONResponse(answer)


def _points(runs: Runs, request: Request) -> Response:
    return JSONResponse(runs.points(request.path_params["run"]))


def _taken(make: Callable[[Runs, str, str], Response]) -> Callable[[Runs, Request], Response]:
    return lambda runs, request: make(runs, request.path_params["run"], request.path_params["file"])


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
        answer = await run_in_threadpool(_asked, runs, request.path_params["run"], sql)
    except (ValueError, KeyError, TypeError, DynamicsError) as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    body = {"columns": answer.columns, "rows": answer.rows, "more": answer.more}
    return JSONResponse(body)


def _asked(runs: Runs, name: str, sql: str) -> Answer:
    with runs.held(name) as snapshot:
        return ask(snapshot.folder, sql)


def serve(
    folder: str | Path,
    port: int = PORT,
    *,
    host: str = "127.0.0.1",
    public: bool = False,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serve the page until interrupted. An address other than loopback needs `public`, and then a token to enter.

    `announce` is told the address to open. Raises UsageError where the folder has no run, the address is not allowed
    or the port is taken; port 0 takes a free one.
    """
    if host not in LOOPBACK and not public:
        msg = f"the page would answer at {host}, beyond this machine; expected {LOOPBACK[0]}, or say that it is public"
        raise UsageError(msg)
    token = secrets.token_urlsafe(24) if public else None
    app = application(folder, token=token)
    with _listening(host, port) as door:
        name = socket.gethostname() if host in EVERYWHERE else f"[{host}]" if ":" in host else host
        if announce is not None:
            announce(f"http://{name}:{door.getsockname()[1]}/" + (f"?token={token}" if token else ""))
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[door])


def _listening(host: str, port: int) -> socket.socket:
    """A socket at this address, before anyone is told to open it."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        msg = f"cannot answer at {host}, port {port}: {error}; choose another with --port (0 takes a free one)"
        raise UsageError(msg) from error
