"""Histories of several stages on one axis: where steps restart, the stages are laid end to end."""

from __future__ import annotations

import polars as pl

# Tables whose rows name a step of a stage. Events are on the continued axis already: see `dynamics.events`.
STEPPED = ("checkpoints", "measurements", "bands", "slices")


def laid_end_to_end(tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The tables with `step` counted through all stages of each series that has several; the others as they are.

    Where every checkpoint of a series has its tokens, a step is tokens over the tokens of one step of the first
    stage; otherwise each stage goes on where the last one ended. The same rule dates the events.
    """
    points = pl.concat([tables[name].select("series", "stage", "step") for name in STEPPED[:2]]).unique()
    points = points.with_columns(pl.col("stage").fill_null(""))
    staged = points.filter(pl.col("stage").n_unique().over("series") > 1)
    if staged.is_empty():
        return tables
    tokens = tables["checkpoints"].select("series", pl.col("stage").fill_null(""), "step", "tokens_seen")
    staged = staged.join(tokens.unique(("series", "stage", "step")), on=("series", "stage", "step"), how="left")
    placed = pl.concat([_placed(part) for part in staged.sort("stage", "step").partition_by("series")])
    return {name: _moved(frame, placed) if name in STEPPED else frame for name, frame in tables.items()}


def _placed(part: pl.DataFrame) -> pl.DataFrame:
    """Where each step of one series lies on the continued axis, as `_place`."""
    first = part.filter((pl.col("stage") == part["stage"][0]) & (pl.col("step") > 0))
    if part["tokens_seen"].null_count() == 0 and first.height:
        per_step = (first["tokens_seen"] / first["step"]).median() or 1.0
        place = (pl.col("tokens_seen") / per_step).round()
        return part.with_columns(place.cast(pl.Int64).alias("_place")).drop("tokens_seen")
    offset, pieces = 0, []
    for stage in part.partition_by("stage", maintain_order=True):
        pieces.append(stage.with_columns((pl.col("step") + offset).alias("_place")))
        offset = pieces[-1]["_place"].max()
    return pl.concat(pieces).drop("tokens_seen")


def _moved(frame: pl.DataFrame, placed: pl.DataFrame) -> pl.DataFrame:
    keyed = frame.with_columns(pl.col("stage").fill_null("").alias("_stage"))
    joined = keyed.join(placed.rename({"stage": "_stage"}), on=("series", "_stage", "step"), how="left")
    return joined.with_columns(pl.coalesce("_place", "step").alias("step")).drop("_stage", "_place")


def told(checkpoints: pl.DataFrame) -> str:
    """One sentence that names the stages of each series that has several, and where each ends; or nothing."""
    named = checkpoints.filter(pl.col("stage").fill_null("").n_unique().over("series") > 1)
    ends = named.group_by("series", "stage").agg(pl.col("step").max()).sort("series", "step")
    parts = []
    for part in ends.partition_by("series", maintain_order=True):
        listed = ", ".join(f"{stage or 'unnamed'} to {step:,}" for stage, step in part.drop("series").iter_rows())
        parts.append(f"{part['series'][0]} ({listed})")
    return f"Stages are laid end to end, steps counted through all of them: {'; '.join(parts)}." if parts else ""


def tokens_seen(checkpoints: pl.DataFrame) -> list[list[int]] | None:
    """Steps with the tokens seen at each, for an axis of tokens where batches grow; None where that is no function.

    All series must agree on it, and both must grow.
    """
    pairs = checkpoints.select("step", "tokens_seen").unique().sort("step")
    told = pairs.height > 1 and pairs["tokens_seen"].null_count() == 0
    if not told or pairs["step"].is_duplicated().any() or (pairs["tokens_seen"].diff().drop_nulls() <= 0).any():
        return None
    return [list(pair) for pair in pairs.iter_rows()]
