"""Documents: what a text is made of, from a file on this machine or from a dataset of the hub.

`hf:ORG/NAME` is read through the hub client: the branch is pinned to its commit, which is stored with the task, and
what has been fetched once is read again without a network. Of several files the first of the test split is taken, else
of the validation split, else of the training split; `hf:ORG/NAME@REVISION:FILE` names one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Literal

import pyarrow.parquet
from pydantic import Field

from dynamics.errors import CheckpointError, UsageError
from dynamics.tasks import TaskSettings

SAMPLE = Path(__file__).with_name("sample.txt")
HUB = "hf:"

# A plain text is documents by the setting `documents`; the others have a document in each row.
PLAIN, LINES, TABLE = ".txt", ".jsonl", ".parquet"
SPLITS = ("test", "valid", "train", "")
HELD_OUT = 0.2  # of each document, at its end
ROWS_AT_ONCE = 256


class TextSettings(TaskSettings):
    """Which text. `path` is a UTF-8 file, a .jsonl or .parquet whose `column` holds a document in each row, or a
    dataset of the hub (hf:ORG/NAME); by default the bundled sample. Of plain text each file, or each line of it, is
    one document; in a file of several, a form feed ends each. `part` is all of each document, its first four fifths
    ("training") or the rest ("held-out"). Documents are read, in order, until they have so many `characters`.
    """

    path: str | Path | None = None
    column: str = "text"
    documents: Literal["file", "lines"] = "file"
    part: Literal["all", "training", "held-out"] = "all"
    characters: int = Field(default=10_000_000, ge=1)


def read(settings: TextSettings) -> tuple[list[str], str]:
    """The documents, and the name of where they come from: a file's, or the hub's with the commit."""
    path, name = _locate(settings)
    found: list[str] = []
    room = settings.characters
    for document in _every(path, settings):
        found.append(document[:room])
        room -= len(document)
        if room <= 0:
            break
    return [_part(document, settings.part) for document in found], name


def _locate(settings: TextSettings) -> tuple[Path, str]:
    place = str(settings.path or SAMPLE)
    if place.startswith(HUB):
        try:
            return _fetch(place.removeprefix(HUB))
        except CheckpointError as error:
            msg = f"cannot read text {place!r}: {error}"
            raise UsageError(msg) from error
    path = Path(place).expanduser()
    return path, path.name


def _fetch(place: str) -> tuple[Path, str]:
    """The file of a dataset on this machine, and its name with the commit: ORG/NAME@REVISION:FILE."""
    from dynamics.sources.hub_client import connect

    address, _, chosen = place.partition(":")
    repo, _, revision = address.partition("@")
    hub = replace(connect(), kind="dataset")
    commit = hub.resolve(repo, revision or "main")
    files = hub.tree(repo, commit)
    if chosen and chosen not in files:
        msg = f"{repo} has no file {chosen!r}; it has {', '.join(sorted(files)[:8])}"
        raise UsageError(msg)
    file = chosen or _choose(repo, [path for path in files if PurePosixPath(path).suffix in (PLAIN, LINES, TABLE)])
    path, _ = hub.download(repo, commit, file, files[file])
    return path, f"{HUB}{repo}@{commit}:{file}"


def _choose(repo: str, files: list[str]) -> str:
    for split in SPLITS:
        matching = sorted(path for path in files if split in path.lower() and not path.lower().startswith("readme"))
        if matching:
            return matching[0]
    msg = f"{repo} has no {PLAIN}, {LINES} or {TABLE} file on this branch; name another one as hf:{repo}@REVISION"
    raise UsageError(msg)


def _every(path: Path, settings: TextSettings) -> Iterator[str]:
    try:
        if path.suffix == TABLE:
            yield from _table(path, settings.column)
        elif path.suffix == LINES:
            with path.open(encoding="utf-8") as lines:
                yield from (_cell(json.loads(line), settings.column, path) for line in lines if line.strip())
        else:
            text = path.read_text("utf-8")
            yield from text.splitlines() if settings.documents == "lines" else text.split("\f")
    except UsageError:
        raise
    except (OSError, ValueError, pyarrow.ArrowInvalid) as error:
        msg = f"cannot read text {str(path)!r}: {error}; expected a UTF-8 file, {LINES} or {TABLE}"
        raise UsageError(msg) from error


def _table(path: Path, column: str) -> Iterator[str]:
    with pyarrow.parquet.ParquetFile(path) as file:
        if column not in file.schema_arrow.names:
            raise _no_column(path, column, file.schema_arrow.names)
        batches = file.iter_batches(ROWS_AT_ONCE, columns=[column])
        yield from (row for row in chain.from_iterable(batch[column].to_pylist() for batch in batches) if row)


def _cell(row: dict[str, str], column: str, path: Path) -> str:
    if column not in row:
        raise _no_column(path, column, list(row))
    return row[column]


def _no_column(path: Path, column: str, names: list[str]) -> UsageError:
    return UsageError(f"{path.name} has no column {column!r} of text; it has {', '.join(names)}; set 'column'")


def _part(document: str, part: str) -> str:
    cut = round(len(document) * (1 - HELD_OUT))
    return {"all": document, "training": document[:cut], "held-out": document[cut:]}[part]
