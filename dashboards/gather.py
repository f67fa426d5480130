"""Several runs as one: their tables below each other, and what must be said before their numbers are compared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from dashboards.frames import Frames, display_names, prepare
from dashboards.reading import read_tables
from dashboards.wording import join
from dynamics.errors import UsageError

# Series that agree in all of these, and in their name but for the seed, are one model trained from several seeds.
SIZES = ("family", "n_layers", "n_heads", "d_model", "d_vocab", "n_ctx", "n_params")


@dataclass(frozen=True)
class Gathered:
    """Several runs: their frames, the group of each series (a model, whatever its seed), and cautions.

    `folders` has for each run the names that its series have here.
    """

    frames: Frames
    groups: dict[str, str]
    cautions: list[str]
    folders: dict[Path, dict[str, str]]

    def seeds(self, group: str) -> list[str]:
        """The series of a group."""
        return [name for name in self.frames.series_names() if self.groups[name] == group]

    def group_names(self) -> list[str]:
        """The groups, small models first."""
        sizes = dict(self.frames.series.select("series", "n_params").iter_rows())
        first = {self.groups[name]: sizes.get(name) or 0 for name in reversed(self.frames.series_names())}
        return sorted(first, key=lambda group: (first[group], group))


def gather(folders: Sequence[str | Path]) -> Gathered:
    """Read the stores of several runs. A series name that two of them have gets its folder's name.

    Raises UsageError where there is no folder, no store in one, or one twice.
    """
    paths = [Path(folder).resolve() for folder in folders]
    if not paths or len(set(paths)) < len(paths):
        msg = f"cannot compare {', '.join(map(str, folders)) or 'nothing'}: expected folders of different runs"
        raise UsageError(msg)
    read = [read_tables(path) for path in paths]
    names = [set(tables["series"]["series"]) | set(tables["measurements"]["series"]) for tables in read]
    bases: dict[str, str] = {}
    own: dict[Path, dict[str, str]] = {}
    for number, tables in enumerate(read):
        label = paths[number].name
        label = label if sum(path.name == label for path in paths) == 1 else f"{label} #{number + 1}"
        renamed = {
            name: f"{name} ({label})" if sum(name in other for other in names) > 1 else name
            for name in sorted(names[number])
        }
        own[paths[number]] = renamed
        bases |= {new: old for old, new in renamed.items()}
        for table, frame in tables.items():
            if "series" in frame.columns:
                tables[table] = frame.with_columns(pl.col("series").replace(renamed))
    # One recipe is not that of all: each run's own report has its recipe.
    tables = {name: pl.concat([one[name] for one in read], how="diagonal_relaxed") for name in read[0]}
    tables["runs"] = tables["runs"].with_columns(pl.lit(None, pl.String).alias("recipe"))
    shown, frames = display_names(tables), prepare(tables)
    originals = {shown.get(new, new): old for new, old in bases.items()}
    return Gathered(frames, seed_groups(frames, originals), _cautions(tables), own)


def seed_groups(frames: Frames, originals: dict[str, str]) -> dict[str, str]:
    """The group of each series: its own name, or the common one where others differ from it in the seed alone.

    `originals`: each series' name before it was made different from that of another run.
    """
    known = {row["series"]: row for row in frames.series.iter_rows(named=True)}
    keys: dict[str, tuple[Any, ...]] = {}
    for name in frames.series_names():
        row = known.get(name, {})
        base = _without_seed(originals.get(name, name), row.get("seed"))
        keys[name] = (base, *(row.get(size) for size in SIZES))
    groups = {}
    for name, key in keys.items():
        same = [other for other in keys if keys[other] == key]
        # Without a seed in the store the name must tell it; the same model measured twice is not two seeds.
        seeds = {known.get(other, {}).get("seed") for other in same}
        told = {originals.get(other, other) for other in same}
        distinct = len(seeds - {None}) == len(same) or len(told) == len(same)
        groups[name] = f"{key[0]} ({len(same)} seeds)" if len(same) > 1 and distinct else name
    return groups


def _without_seed(name: str, seed: int | None) -> str:
    """A series' name without what tells its seed.

    >>> _without_seed("pythia-70m-seed3", None), _without_seed("grok_2", 2), _without_seed("grok_2", 1)
    ('pythia-70m', 'grok', 'grok_2')
    """
    bare = re.sub(r"[-_ ./]?seed[-_ ]?\d+", "", name, flags=re.IGNORECASE)
    return re.sub(rf"[-_ ./]s?{seed}$", "", bare) if seed is not None else bare


def _cautions(tables: dict[str, pl.DataFrame]) -> list[str]:
    """What makes numbers of one metric in several series incomparable, or their confidence of different kinds."""
    told = []
    counted = tables["measurements"].group_by("metric").agg(
        pl.col("version").n_unique().alias("versions"), pl.col("series").n_unique().alias("series"),
        pl.col("task_hash").n_unique().alias("tasks"),
    ).sort("metric").filter(pl.col("series") > 1)  # fmt: skip
    mixed = counted.filter(pl.col("versions") > 1)["metric"].to_list()
    if mixed:
        told.append(f"Of {join(mixed[:6])} the runs hold several versions of the definition: only the newest is shown.")
    tasks = counted.filter(pl.col("tasks") > 1)["metric"].to_list()
    if tasks:
        listed = tasks[:6] + [f"{len(tasks) - 6} more"] * (len(tasks) > 6)
        told.append(f"The inputs differ between series for {join(listed)}: their levels are not comparable as such.")
    told.append("q is corrected within each run, not over all that are compared.")
    return told
