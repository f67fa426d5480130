"""What is wrong with a history, before it is measured and, where its source publishes hashes, before it is fetched."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from dynamics.checkpoint import Checkpoint
from dynamics.prefetch import open_checkpoint
from dynamics.sources import Series
from dynamics.sources.inspection import Publication, Weighed, inspect

SCHEMA = {"stage": pl.String, "step": pl.Int64, "revision": pl.String, "bytes": pl.Int64, "weights_sha": pl.String,
          "problem": pl.String}  # fmt: skip


def audit(series: Series, watch: Callable[[Checkpoint], None] = lambda _: None) -> pl.DataFrame:
    """One row for each checkpoint: `problem` is empty, or says that its weights are missing, unreadable or a copy.

    The same weights at two steps mean that one of the two was published under a wrong name. A source that publishes
    no hashes has its files read.
    """
    if not series.checkpoints:
        return pl.DataFrame(schema=SCHEMA)
    publication = series.publication or Publication(lambda checkpoint: _read(series, checkpoint))
    findings = inspect(publication, series.checkpoints, series.checkpoints[-1], watch)
    rows = []
    for checkpoint, finding in findings.items():
        weighed = finding.weighed
        hashes = sorted(sha for sha in weighed.hashes.values() if sha) if weighed else []
        rows.append({
            "stage": checkpoint.stage, "step": checkpoint.step, "revision": checkpoint.revision,
            "bytes": weighed.n_bytes if weighed else None, "weights_sha": " ".join(hashes) or None,
            "problem": finding.problem or finding.unanswered,
        })  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA)


def _read(series: Series, checkpoint: Checkpoint) -> Weighed:
    weights = open_checkpoint(series, checkpoint).weights
    return Weighed({"weights": weights.sha}, weights.n_bytes)
