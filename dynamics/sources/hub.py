"""The Hugging Face hub: branches, tags, commits, folders or files of a repo, `hub:ORG/REPO` or `hub:ORG/REPO@REVISION`.

Steps are listed from the live hub and pinned to commits. A repo of the catalogue is read by its entry's rules; any
other is searched for names that look like steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dynamics.checkpoint import Checkpoint, Files, read_json
from dynamics.errors import CheckpointError, UsageError
from dynamics.loading import remote_code
from dynamics.sources import Access, Series
from dynamics.sources.catalogue import Entry, of_repo
from dynamics.sources.hub_client import Hub, connect
from dynamics.sources.hub_disk import DiskBudget, sizes_and_hashes
from dynamics.sources.hub_errors import NotThere
from dynamics.sources.hub_files import RemoteFile
from dynamics.sources.hub_listing import Found, Listing, list_places
from dynamics.sources.inspection import Publication, Report, Weighed
from dynamics.sources.names import agreed_rate
from dynamics.sources.steps import covers
from dynamics.sources.token_counts import said, tokens_seen
from dynamics.sources.weight_files import choose

WHAT = "a repo of the Hugging Face hub: hub:ORG/REPO, or hub:ORG/REPO@REVISION for folders or commits of a revision"

# Where steps are looked for in a repo that the catalogue does not know, in this order; commits are asked for last,
# since their list is long.
DISCOVERED = ("branch", "tag", "subfolder", "file", "commit")


def open_source(place: str, series: str | None, access: Access) -> Series:
    """List a repo's history. Raises `UsageError` where it cannot be listed or shows no steps."""
    repo, _, revision = place.partition("@")
    hub = connect()
    known = of_repo(repo)
    if known is not None and not revision:
        return open_entry(known, series, access)
    try:
        entry, listing = _discover(hub, repo, revision)
    except CheckpointError as error:
        raise UsageError(str(error)) from error
    first = listing.found[0].name.stage
    rate = agreed_rate([found.name for found in listing.found if found.name.stage == first])
    return _Repo(hub, entry, listing, access, rate).series(series or repo.rsplit("/", 1)[-1], f"hub:{place}")


def open_entry(entry: Entry, series: str | None, access: Access) -> Series:
    """List a public series by its rules. Raises `UsageError` where it cannot be listed or cannot be read."""
    if entry.refused:
        msg = f"series {entry.name!r} cannot be measured: {entry.refused}"
        raise UsageError(msg)
    if entry.remote_code and not access.trust_remote_code:
        msg = f"series {entry.name!r} needs code that its repo {entry.repo} brings along: {remote_code.ALLOW}"
        raise UsageError(msg)
    hub = connect()
    try:
        listing = list_places(hub, entry)
    except CheckpointError as error:
        raise UsageError(str(error)) from error
    if not listing.found:
        seen = ", ".join(listing.ignored[:5]) or "nothing"
        msg = (
            f"{entry.repo} has no checkpoints named like {entry.pattern or 'those of the catalogue'}; it shows {seen}. "
            f"The series may have moved: try hub:{entry.repo}"
        )
        raise UsageError(msg)
    if entry.kind == "bundle":
        return _bundle(hub, listing.found[0], series or entry.name)
    return _Repo(hub, entry, listing, access).series(series or entry.name, f"hub:{entry.repo}")


def _bundle(hub: Hub, found: Found, name: str) -> Series:
    """The steps inside one file, which has to be here to be listed."""
    from dynamics.sources import file

    try:
        path, _ = hub.download(found.repo, found.commit, found.file, hub.tree(found.repo, found.commit)[found.file])
    except CheckpointError as error:
        raise UsageError(str(error)) from error
    return replace(file.open_source(str(path), name), source=f"hub:{found.repo}")


def _discover(hub: Hub, repo: str, revision: str) -> tuple[Entry, Listing]:
    """The kind of place that shows most steps."""
    best: tuple[Entry, Listing] | None = None
    for kind in DISCOVERED:
        if revision and kind in ("branch", "tag"):
            continue
        pattern = PATTERNS.get(kind)
        entry = Entry(name=repo, title=repo, repo=repo, kind=kind, pattern=pattern, revision=revision or "main")  # pyright: ignore[reportArgumentType]
        try:
            listing = list_places(hub, entry)
        except NotThere:
            if best is None or revision:
                raise
            continue  # no main, for instance: then no folders or commits of it
        if best is None or len(listing.found) > len(best[1].found):
            best = entry, listing
        if len(listing.found) > 1:
            break
    assert best is not None
    if not best[1].found:
        seen = ", ".join(hub.refs(repo)["branches"]) or "nothing"
        msg = (
            f"no steps in the names of branches, tags, folders, files or commits of {repo}; its branches are {seen}. "
            "Expected names such as step1000, checkpoint-500 or stage1-step1000-tokens5B"
        )
        raise UsageError(msg)
    return best


# Inside a repo a number alone means nothing, and what counts steps in a commit's title follows the word.
PATTERNS = {
    "subfolder": r"(?:.*/)?(?:(?P<stage>stage\d+)[-_/])?(?:global_?step|step|checkpoint-|ckpt[-_]|iter_)[-_]?"
    r"(?P<step>\d+)(?:-tokens?-?(?P<tokens>[\d.]+)(?P<tokens_unit>[MBT]))?",
    "file": r"(?:.*/)?(?:(?:global_?)?step[-_]?(?P<step>\d+)|tokens_(?P<tokens>\d+))\.(?:pth|pt|safetensors|bin)",
    "commit": r".*\b[Ss]tep[ _-]?(?P<step>\d+)\b.*",
}


@dataclass
class _Repo:
    """The checkpoints of one listing, and how to weigh, fetch and forget them."""

    hub: Hub
    entry: Entry
    listing: Listing
    access: Access
    rate: tuple[float, float] | None = None  # tokens per step that the labels agree on, and its relative error

    def series(self, name: str, source: str) -> Series:
        first = self.listing.found[0].name.stage
        self.places = {
            Checkpoint(
                name, found.name.step, found.name.stage, tokens_seen(self.entry, found.name, first, self.rate),
                f"{found.label}@{found.commit}",
            ): found
            for found in self.listing.found
        }  # fmt: skip
        self.swept: set[str] = set()
        self.budget = DiskBudget(self.access.disk_budget) if self.access.disk_budget is not None else None
        notes = (self.entry.note,) if self.entry.note else ()
        if self.rate is not None:
            notes += (f"tokens are counted as {self.rate[0]:,.0f} for each step, which most names agree on",)
        return Series(
            name, source, tuple(self.places), self.fetch, self.listing.ignored, self.entry.seed,
            publication=self.publication(), release=self.release, notes=notes, outline=self.outline,
        )  # fmt: skip

    def publication(self) -> Publication:
        reported = {
            checkpoint: Report(defect.problem, defect.reason)
            for defect in self.entry.defects for checkpoint in self.places
            if covers(defect.steps, checkpoint.step) and defect.stage in (None, checkpoint.stage)
        }  # fmt: skip
        error = self.rate[1] if self.rate else 0.0
        labels = {
            checkpoint: (said(self.entry, found.name, seen), found.name.tokens_unit + error * seen)
            for checkpoint, found in self.places.items()
            if found.name.tokens is not None and self.entry.tokens_from == "step"
            and (seen := checkpoint.tokens_seen) is not None
        }  # fmt: skip
        return Publication(self.weigh, self.weigh_main, reported, labels, self.listed_before)

    def weigh(self, checkpoint: Checkpoint) -> Weighed:
        found = self.places[checkpoint]
        files = self._weights(found)
        return Weighed({path: file.sha for path, file in files.items()}, sum(file.size for file in files.values()))

    def weigh_main(self) -> Weighed | None:
        """What `main` holds, where the checkpoints are its siblings."""
        if self.listing.main is None:
            return None
        try:
            files = self._weights(Found(self.listing.found[0].name, "main", self.entry.repo, self.listing.main))
        except CheckpointError:
            return None  # many series keep no weights there
        return Weighed({path: file.sha for path, file in files.items()}, sum(file.size for file in files.values()))

    def listed_before(self) -> tuple[Checkpoint, ...]:
        return tuple(c for c, found in self.places.items() if self.hub.has_tree(found.repo, found.commit))

    def fetch(self, checkpoint: Checkpoint) -> Files:
        try:
            return self._fetch(checkpoint)
        except CheckpointError:
            self.release(checkpoint)
            raise

    def _fetch(self, checkpoint: Checkpoint) -> Files:
        found = self.places[checkpoint]
        weights = self._weights(found)
        self._sweep(found.repo)
        if self.budget is not None:
            self._reserve(checkpoint, found, weights)
        digests = {}
        for path, file in weights.items():
            local, sha = self.hub.download(found.repo, found.commit, path, file)
            if sha is not None:
                digests[local] = sha
        return replace(
            self.outline(checkpoint), digests=digests, immutable=True,
            weights=tuple(digests) if len(digests) == len(weights) else self._local(found, weights),
        )  # fmt: skip

    def outline(self, checkpoint: Checkpoint) -> Files:
        """What a checkpoint brings beside its weights."""
        found = self.places[checkpoint]
        tree = self.hub.tree(found.repo, found.commit)
        config = self._beside(found, tree, "config.json")
        tokenizer = self._beside(found, tree, "tokenizer.json") if not self.entry.tokenizer else self._own_tokenizer()
        return Files((), config, tokenizer, code=self._code(found, tree, config), bos=self.entry.bos)

    def release(self, checkpoint: Checkpoint) -> None:
        if self.budget is not None:
            self.budget.release((checkpoint.stage, checkpoint.step))

    def _weights(self, found: Found) -> dict[str, RemoteFile]:
        tree = self.hub.tree(found.repo, found.commit)
        if found.file:
            return {found.file: tree[found.file]}
        try:
            return {path: tree[path] for path in choose(tree, found.folder)}
        except CheckpointError as error:
            msg = f"{found.repo} {found.label}: {error}"
            raise CheckpointError(msg) from error

    def _local(self, found: Found, weights: Mapping[str, Any]) -> tuple[Path, ...]:
        return tuple(self.hub.snapshot(found.repo, found.commit) / path for path in weights)

    def _beside(self, found: Found, tree: Mapping[str, RemoteFile], name: str) -> Path | None:
        """A small file from the checkpoint's own folder, or from the top of its revision."""
        folder = found.folder or str(Path(found.file).parent) if found.file or found.folder else "."
        for path in (name if folder == "." else f"{folder}/{name}", name):
            if path in tree:
                return self.hub.download(found.repo, found.commit, path, tree[path])[0]
        return None

    def _code(self, found: Found, tree: Mapping[str, RemoteFile], config: Path | None) -> Path | None:
        """The folder of the checkpoint's own code, from the commit of its weights; None where it may not be run."""
        if not self.access.trust_remote_code or config is None or not remote_code.names(read_json(config)):
            return None
        beside = config.parent.relative_to(self.hub.snapshot(found.repo, found.commit))
        for path, file in tree.items():
            if path.endswith(".py") and beside in Path(path).parents:
                self.hub.download(found.repo, found.commit, path, file)
        return config.parent

    def _own_tokenizer(self) -> Path | None:
        repo = self.entry.tokenizer
        commit = self.hub.refs(repo)["branches"].get("main", "")
        tree = self.hub.tree(repo, commit)
        if "tokenizer.json" not in tree:
            return None
        return self.hub.download(repo, commit, "tokenizer.json", tree["tokenizer.json"])[0]

    def _sweep(self, repo: str) -> None:
        if repo not in self.swept and not self.hub.offline:
            self.swept.add(repo)
            listed = {(f.repo, f.commit) for f in self.listing.found if self.hub.has_tree(f.repo, f.commit)}
            trees = [self.hub.tree(*place) for place in listed if place[0] == repo]
            self.hub.sweep_orphans(repo, {file.name for tree in trees for file in tree.values()})

    def _reserve(self, checkpoint: Checkpoint, found: Found, weights: Mapping[str, RemoteFile]) -> None:
        assert self.budget is not None
        if not self.budget.holds:
            for other, place in self.places.items():  # what earlier runs have left
                if self.hub.has_tree(place.repo, place.commit) and place.commit != found.commit:
                    self._hold(other, place)
        links = dict(zip(self._local(found, weights), weights.values(), strict=True))
        self.budget.reserve((checkpoint.stage, checkpoint.step), *sizes_and_hashes(links))

    def _hold(self, checkpoint: Checkpoint, found: Found) -> None:
        try:
            weights = self._weights(found)
        except CheckpointError:
            return
        links = dict(zip(self._local(found, weights), weights.values(), strict=True))
        links = {link: file for link, file in links.items() if link.exists()}
        if links and self.budget is not None:
            self.budget.found((checkpoint.stage, checkpoint.step), *sizes_and_hashes(links))
