"""How cost grows: time with tokens and with checkpoints, memory over two hundred checkpoints.

Three sizes, each twice the one before: what the second step adds is twice what the first one added where cost is
linear. Run: python -m tests.benchmarks growth
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch

import dynamics
from dynamics.sweep import Watch
from tests.benchmarks._series import LOSSES, SCORES, inputs, line, peak, series_of

METRICS = SCORES + LOSSES
SIZES, ROUNDS = (2, 4, 8), 3
MANY, SETTLED = 200, 40  # checkpoints; by the second number caches and allocators have what they keep


def main() -> Iterator[str]:
    """A line for each kind of growth."""
    with series_of("small", MANY) as folder:
        rounds = [_seconds(folder) for _ in range(ROUNDS)]
        for what in ("tokens", "checkpoints"):
            added = [(taken[what][2] - taken[what][1]) / (taken[what][1] - taken[what][0]) for taken in rounds]
            yield line(f"small: what twice the {what} add, again doubled (2 is linear)", median(added), 2.5)
        grown = peak("growth", str(folder))
        yield line(f"small: MB by which the peak grows from {SETTLED} to {MANY} checkpoints", grown, 10.0)


def _seconds(folder: Path) -> dict[str, list[float]]:
    few = ",".join(str(step) for step in range(SIZES[0]))
    by_tokens = [_timed(folder, windows, few) for windows in SIZES]
    by_checkpoints = [_timed(folder, 1, ",".join(map(str, range(3 * n)))) for n in SIZES]
    return {"tokens": by_tokens, "checkpoints": by_checkpoints}


def _timed(folder: Path, windows: int, steps: str) -> float:
    start = time.process_time()
    _measure(folder, windows, steps)
    return time.process_time() - start


def _measure(folder: Path, windows: int, steps: str, watch: Watch | None = None) -> None:
    series = dynamics.open_series(f"folder:{folder / 'series'}", steps=steps)
    settings = dynamics.Settings(tasks=inputs(folder, windows, 5 * windows))
    with tempfile.TemporaryDirectory() as out:
        dynamics.measure(series, METRICS, out=out, settings=settings, watch=watch)


def _alone(place: str) -> None:
    """Print by how many megabytes the peak of this process grows once everything has settled."""
    torch.set_num_threads(1)
    peaks: list[float] = []
    _measure(Path(place), 1, "all",
             lambda _: peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))  # fmt: skip
    print(peaks[-1] - peaks[SETTLED - 1])
