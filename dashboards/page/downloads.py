"""What can be taken from the page: every table of a run's store, and every figure as it was last drawn."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import threading
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.responses import FileResponse, Response

from dashboards import theme
from dashboards.page.runs import Runs
from dashboards.pictures import png, svg
from dynamics.errors import unknown
from dynamics.store import EXPORTS, SCHEMA, Store

TABLES = (*SCHEMA, "curves")
FILES = tuple(f"{table}.{kind}" for table in TABLES for kind in EXPORTS)
PICTURES = {"png": "image/png", "svg": "image/svg+xml", "json": "application/json"}
# No picture is run as a page, whatever a series is named; and nobody keeps what is about to change.
HEADERS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox", "Cache-Control": "no-store"}
_MAKING = threading.Lock()  # one after the other: the machine is measuring


def table(runs: Runs, name: str, file: str) -> Response:
    """One table as DuckDB writes it, from a file that goes when it has been sent."""
    if file not in FILES:
        raise unknown(file, FILES, kind="file", listed_by="the page")
    folder = Path(tempfile.mkdtemp(prefix="dynamics-file-"))
    try:
        with _MAKING, runs.held(name) as snapshot, Store(snapshot.folder, read_only=True) as store:
            store.query("SET threads = 1")
            store.export(file.partition(".")[0], folder / file)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return FileResponse(
        folder / file, filename=saved_as(name, file), media_type="application/octet-stream", headers=HEADERS,
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )  # fmt: skip


def figure(runs: Runs, name: str, file: str) -> Response:
    """One figure as it was last drawn: a picture on white, or Vega-Lite with its data for any editor of it."""
    _, document = runs.document(name)
    names = [figure.name for figure in document.figures]
    wanted, _, kind = file.rpartition(".")
    if kind not in PICTURES or wanted not in names:
        offered = [f"{one}.{kind}" for one in names for kind in PICTURES]
        raise unknown(file, offered, kind="figure", listed_by="the page")
    drawn = document.specifications[names.index(wanted)]
    if kind == "json":
        content: str | bytes = json.dumps({**drawn, "config": theme.config()})
    else:
        with _MAKING:
            picture = svg(drawn)
            content = picture if kind == "svg" else png(picture)
    told = f'attachment; filename="{saved_as(name, file)}"'
    return Response(content, media_type=PICTURES[kind], headers={**HEADERS, "Content-Disposition": told})


def saved_as(run: str, file: str) -> str:
    """The name of a file that is taken from a run: plain letters that no folder and no header can be hidden in.

    >>> saved_as("../a b", "events.csv"), saved_as("грок", "loss.png")
    ('a-b-events.csv', 'loss.png')
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", run).strip("-")[:60]
    return f"{plain}-{file}" if plain else file
