"""Where the hub keeps each checkpoint of a series: eight ways, one function each.

Every place is pinned to a commit hash, so that what is measured cannot change under a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from dynamics.errors import UsageError
from dynamics.sources.catalogue import Entry, Place
from dynamics.sources.hub_client import Hub
from dynamics.sources.hub_errors import NotThere
from dynamics.sources.names import ANY, Name, natural, read_name
from dynamics.sources.steps import spans


@dataclass(frozen=True)
class Found:
    """One checkpoint on the hub: what its name says, and the commit and path that hold it."""

    name: Name
    label: str
    repo: str
    commit: str
    folder: str = ""
    file: str = ""


@dataclass(frozen=True)
class Listing:
    """What was found, the names that were seen and are no checkpoint's, and the commit that `main` points at."""

    found: tuple[Found, ...]
    ignored: tuple[str, ...]
    main: str | None = None


def list_places(hub: Hub, entry: Entry) -> Listing:
    """All checkpoints of a series, in order of stage and step."""
    listing = LOCATORS[entry.kind](hub, entry)
    order = {stage.name: i for i, stage in enumerate(entry.stages)}
    kept: dict[tuple[str, int], Found] = {}
    ignored = list(listing.ignored)
    for found in listing.found:
        name = found.name if found.name.stage else replace(found.name, stage=entry.default_stage)
        key = (name.stage, name.step)
        if key in kept:  # "step1000-..." beside "stage1-step1000-...": the first is kept, the other is named
            ignored.append(found.label)
        else:
            kept[key] = replace(found, name=name)
    places = sorted(
        kept.values(),
        key=lambda f: (order.get(f.name.stage, len(order)), natural(f.name.stage), f.name.step),
    )
    return Listing(tuple(places), tuple(sorted(ignored, key=natural)), listing.main)


def _from_labels(entry: Entry, labels: Iterable[tuple[str, Found]], main: str | None) -> Listing:
    found, ignored = [], []
    for label, place in labels:
        name = read_name(label, entry.pattern or ANY)
        if name is None:
            ignored.append(label)
        else:
            found.append(replace(place, name=name, label=label))
    return Listing(tuple(found), tuple(ignored), main)


_NO_NAME = Name("", 0)


def _branches(hub: Hub, entry: Entry) -> Listing:
    branches = hub.refs(entry.repo)["branches"]
    places = ((name, Found(_NO_NAME, name, entry.repo, commit)) for name, commit in sorted(branches.items()))
    return _from_labels(entry, places, branches.get("main"))


def _tags(hub: Hub, entry: Entry) -> Listing:
    refs = hub.refs(entry.repo)
    places = ((name, Found(_NO_NAME, name, entry.repo, commit)) for name, commit in sorted(refs["tags"].items()))
    return _from_labels(entry, places, refs["branches"].get("main"))


def _repos(hub: Hub, entry: Entry) -> Listing:
    """A repo for each step: named one by one, or by a rule whose repos need not all exist."""
    if entry.places:
        return _named(hub, entry)
    found, ignored = [], []
    for label in spans(entry.labels or ""):
        repo = entry.repo.replace("{label}", str(label))
        try:
            commit = _resolve(hub, repo, entry.revision)
        except NotThere as error:
            ignored.append(f"{repo} ({error})")
            continue
        name = read_name(repo, entry.pattern or ANY)
        if name is not None:
            found.append(Found(name, repo, repo, commit))
    return Listing(tuple(found), tuple(ignored))


def _named(hub: Hub, entry: Entry) -> Listing:
    """Checkpoints whose places follow no rule, from the entry's own table."""
    found, ignored = [], []
    for place in entry.places:
        repo = place.repo or entry.repo
        label = f"{repo}@{place.revision}" if place.repo else place.revision
        try:
            commit = _resolve(hub, repo, place.revision)
        except NotThere as error:
            ignored.append(f"{label} ({error})")
            continue
        found.append(Found(_of_place(place), label, repo, commit))
    return Listing(tuple(found), tuple(ignored))


def _of_place(place: Place) -> Name:
    return Name(place.stage, place.step, place.tokens)


def _folders(hub: Hub, entry: Entry) -> Listing:
    """Folders of one revision."""
    commit = _resolve(hub, entry.repo, entry.revision)
    folders = {str(parent) for path in hub.tree(entry.repo, commit) for parent in PurePosixPath(path).parents}
    places = (
        (folder, Found(_NO_NAME, folder, entry.repo, commit, folder=folder)) for folder in sorted(folders - {"."})
    )
    return _from_labels(entry, places, None)


def _files(hub: Hub, entry: Entry) -> Listing:
    """Files of one revision."""
    commit = _resolve(hub, entry.repo, entry.revision)
    places = (
        (path, Found(_NO_NAME, path, entry.repo, commit, file=path)) for path in sorted(hub.tree(entry.repo, commit))
    )
    return _from_labels(entry, places, None)


def _commits(hub: Hub, entry: Entry) -> Listing:
    """Commits of one branch by title, from the oldest, so that a step saved twice keeps its first place."""
    history = hub.commits(entry.repo, entry.revision)
    places = ((title, Found(_NO_NAME, title, entry.repo, commit)) for commit, title in reversed(history))
    return _from_labels(entry, places, None)


def _bundle(hub: Hub, entry: Entry) -> Listing:
    """One file that holds all steps: which they are is known when it is opened."""
    commit = _resolve(hub, entry.repo, entry.revision)
    path = entry.file or ""
    if path not in hub.tree(entry.repo, commit):
        msg = f"{entry.repo} has no file {path!r} at {commit[:12]}, which should hold the steps of {entry.name!r}"
        raise UsageError(msg)
    return Listing((Found(_NO_NAME, path, entry.repo, commit, file=path),), ())


def _resolve(hub: Hub, repo: str, revision: str) -> str:
    refs = hub.refs(repo)
    commit = refs["branches"].get(revision) or refs["tags"].get(revision)
    if commit is None:
        msg = f"{repo} has no revision {revision!r}; it has {', '.join(list(refs['branches'])[:8])}"
        raise NotThere(msg)
    return commit


LOCATORS: dict[str, Callable[[Hub, Entry], Listing]] = {
    "branch": _branches,
    "tag": _tags,
    "repo": _repos,
    "subfolder": _folders,
    "file": _files,
    "commit": _commits,
    "named": _named,
    "bundle": _bundle,
}
