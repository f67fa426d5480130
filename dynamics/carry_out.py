"""Carry out a recipe: every series measured, the events detected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dynamics.errors import UsageError
from dynamics.importing import import_results
from dynamics.recipe import Recipe, SeriesEntry
from dynamics.run import Run
from dynamics.sources import Series, open_series
from dynamics.store import Store
from dynamics.sweep import Settings, Watch, find_metric, measure

ADAPTIVE = "adaptive"
CHECKPOINTS = "checkpoints"  # the subfolder of a run that holds the histories trained for it


def carry_out(
    recipe: Recipe, *, out: str | Path, source: str | None = None, watch: Watch | None = None
) -> Run:
    """Measure every series of a recipe into one store and detect events across them. The report is another step."""
    for name in recipe.metrics:
        find_metric(name)
    if recipe.metrics:
        opened = _trained(recipe, Path(out)) if recipe.train and source is None else [
            _open(recipe, entry, source) for entry in recipe.series
        ]  # fmt: skip
    else:
        opened = []
    names = [series.name for series in opened]
    if len(set(names)) < len(names):
        msg = f"recipe {recipe.name!r} has two series of one name among {', '.join(names)}; name each with 'name'"
        raise UsageError(msg)
    budget = recipe.budget if recipe.steps == ADAPTIVE else None
    settings = Settings(
        recipe.tasks, recipe.device, recipe.dtype, recipe.model_dump(mode="json"), budget, device_map=recipe.device_map
    )
    for series in opened:
        measure(series, recipe.metrics, out=out, settings=settings, watch=watch)
    if recipe.imports:
        with Store(out) as store:
            for entry in recipe.imports:
                kept = recipe.model_dump(mode="json")
                import_results(entry.path, store, series=entry.series, only=entry.only, recipe=kept)
    run = Run(out)
    run.detect(fdr=recipe.events.fdr)
    return run


def _trained(recipe: Recipe, out: Path) -> list[Series]:
    """The histories that 'dynamics train' has made for this recipe, in order of their seeds."""
    prefix = recipe.series_of_seed(0).removesuffix("0")
    folders = [folder for folder in (out / CHECKPOINTS).glob(f"{prefix}*") if any(folder.glob("step*"))]
    if not folders:
        msg = f"recipe {recipe.name!r} trains its own models, and {out / CHECKPOINTS} has none of them yet; run " \
              f"'dynamics train' with the recipe and '--out {out}' first"  # fmt: skip
        raise UsageError(msg)
    ordered = sorted(folders, key=lambda folder: int(folder.name.removeprefix(prefix)))
    seeds = [int(folder.name.removeprefix(prefix)) for folder in ordered]
    return [
        replace(_listed(recipe, f"folder:{folder}", folder.name), seed=seed)
        for folder, seed in zip(ordered, seeds, strict=True)
    ]


def _open(recipe: Recipe, entry: SeriesEntry, source: str | None) -> Series:
    if source is not None and len(recipe.series) > 1:
        msg = f"recipe {recipe.name!r} has {len(recipe.series)} series; '--source' can stand for one only"
        raise UsageError(msg)
    locator = source or entry.source
    if locator is None:
        msg = f"recipe {recipe.name!r} leaves its checkpoints to you; add '--source folder:PATH'"
        raise UsageError(msg)
    return _listed(recipe, locator, entry.name)


def _listed(recipe: Recipe, locator: str, name: str | None) -> Series:
    series = open_series(
        locator, steps="all" if recipe.steps == ADAPTIVE else recipe.steps, name=name,
        include_defective=recipe.include_defective, disk_budget=recipe.disk_budget,
        trust_remote_code=recipe.trust_remote_code,
    )  # fmt: skip
    return series.with_tokens(recipe.tokens_per_step) if recipe.tokens_per_step else series
