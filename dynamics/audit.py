"""What is wrong with a history, before it is measured."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from dynamics.checkpoint import Checkpoint
from dynamics.errors import CheckpointError
from dynamics.prefetch import open_checkpoint
from dynamics.sources import Series

SCHEMA = {"stage": pl.String, "step": pl.Int64, "revision": pl.String, "bytes": pl.Int64, "weights_sha": pl.String,
          "problem": pl.String}  # fmt: skip


def audit(series: Series, watch: Callable[[Checkpoint], None] = lambda _: None) -> pl.DataFrame:
    """One row for each checkpoint: `problem` is empty, or says that its weights are missing, unreadable or a copy.

    The same weights at two steps mean that one of the two was published under a wrong name.
    """
    rows, seen = [], {}
    for checkpoint in series.checkpoints:
        row = {"stage": checkpoint.stage, "step": checkpoint.step, "revision": checkpoint.revision, "problem": ""}
        try:
            weights = open_checkpoint(series, checkpoint).weights
        except CheckpointError as error:
            row["problem"] = str(error)
        else:
            row |= {"bytes": weights.n_bytes, "weights_sha": weights.sha}
            if weights.sha in seen:
                row["problem"] = f"the same weights as step {seen[weights.sha]}"
            seen.setdefault(weights.sha, checkpoint.step)
        rows.append(row)
        watch(checkpoint)
    return pl.DataFrame(rows, schema=SCHEMA)
