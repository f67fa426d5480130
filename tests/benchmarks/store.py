"""How long the store takes to append a million measurements, a checkpoint at a time."""

from __future__ import annotations

import tempfile
import time

import numpy as np
import polars as pl

from dynamics.store import Store

ROWS, ROWS_PER_CHECKPOINT = 1_000_000, 5000


def main() -> list[str]:
    """The lines to print."""
    n = ROWS
    frame = pl.DataFrame({"step": np.arange(n) // ROWS_PER_CHECKPOINT, "head": np.arange(n) % 16}).with_columns(
        series=pl.lit("s"), stage=pl.lit(""), metric=pl.lit("m"), value=pl.lit(0.5), weights_sha=pl.lit("w" * 64),
        task_hash=pl.lit("t" * 64), version=pl.lit(1), run_id=pl.lit("r"),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, Store(folder) as store:
        started = time.perf_counter()
        for start in range(0, n, ROWS_PER_CHECKPOINT):
            store.write(measurements=frame.slice(start, ROWS_PER_CHECKPOINT))
        seconds = time.perf_counter() - started
        stored = store.query("SELECT count(*) AS n FROM measurements")["n"].item()
    return [f"store: {stored:,} measurements in {n // ROWS_PER_CHECKPOINT} transactions: {seconds:.1f} s"]
