"""What weight metrics cost beside reading the file: norms, distances and sparsity of every tensor, spectra aside.

Reading is what any use of the weights costs: each tensor of the file in float32. A sweep also takes the SHA-256 of the
file, whose own time is given beside it.
Run: python -m tests.benchmarks weights
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from safetensors.torch import load_file

from metrics import METRICS
from tests.benchmarks._series import line, ratios, series_of, sweep

SHAPE, CHECKPOINTS, ROUNDS = "160m", 4, 3


def main() -> Iterator[str]:
    """The ratio, and the same without the time of the hash."""
    names = [m.name for m in METRICS.values() if m.task is None and set(m.reads) <= {"weights"}]
    with series_of(SHAPE, CHECKPOINTS) as folder:
        jobs = {"read": partial(_read, folder), "hash": partial(_hash, folder),
                "sweep": partial(sweep, folder, {}, names)}  # fmt: skip
        over, seconds = ratios(jobs, ROUNDS)
        yield line(f"{SHAPE}: {', '.join(names)}, over reading the file", over["sweep"], 2.0)
        yield f"        without the time of SHA-256: {over['sweep'] - over['hash']:.2f}; reading one file takes " \
              f"{seconds / CHECKPOINTS:.2f} s, its SHA-256 {seconds * over['hash'] / CHECKPOINTS:.2f} s"  # fmt: skip


def _read(folder: Path) -> None:
    for checkpoint in sorted((folder / "series").iterdir()):
        for tensor in load_file(checkpoint / "model.safetensors").values():
            tensor.float()


def _hash(folder: Path) -> None:
    for checkpoint in sorted((folder / "series").iterdir()):
        with (checkpoint / "model.safetensors").open("rb") as content:
            hashlib.file_digest(content, "sha256")
