"""Beside TransformerLens: the same metrics of the same checkpoints, booted one after the other and run with a cache.

TransformerLens is no dependency: DYNAMICS_TRANSFORMER_LENS names a python that has it; without one the benchmark says
that it was left out. Both sides run in processes of their own, one thread each, and only what is done once the
packages are imported is timed. Run: DYNAMICS_TRANSFORMER_LENS=/path/to/python make bench
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch

from tests.benchmarks._series import LOSSES, SCORES, Inputs, inputs, line, n_tokens, series_of, sweep, tasks

PYTHON = os.environ.get("DYNAMICS_TRANSFORMER_LENS", "")
GROUPS = {
    "scores": ("attention scores and the in-context score", [*SCORES, "in_context_learning_score"], 2.0),
    "full": ("attention scores and the loss at every position", SCORES + LOSSES, 1.0),
}
# The default sizes of both tasks.
SHAPE, CHECKPOINTS, WINDOWS, REPEATS, ROUNDS = "70m", 2, 64, 64, 1


def main(shape: str = SHAPE, windows: int = WINDOWS, repeats: int = REPEATS, rounds: int = ROUNDS) -> Iterator[str]:
    """A line for each ratio of theirs to ours, with its target."""
    if not PYTHON:
        yield "TransformerLens: left out; set DYNAMICS_TRANSFORMER_LENS to a python that has transformer_lens"
        return
    with series_of(shape, CHECKPOINTS) as folder:
        settings = inputs(folder, windows, repeats)
        text, repeated = tasks(folder, settings)
        torch.save({"text": text.tokens, "repeated": repeated.tokens, "period": repeated.fields["period"]},
                   folder / "tokens.pt")  # fmt: skip
        for kind, (what, _, target) in GROUPS.items():
            pairs = [(_theirs(folder, kind), _ours(folder, settings, kind)) for _ in range(rounds)]
            speed = median(theirs["seconds"] / ours["seconds"] for theirs, ours in pairs)
            yield line(f"{shape}, TransformerLens' time over ours: {what}", speed, target, least=True)
            memory = median(ours["peak"] / theirs["peak"] for theirs, ours in pairs)
            yield line(f"{shape}, our peak memory over TransformerLens': {what}", memory, 0.5)
            theirs, ours = pairs[-1]
            sides = {"theirs": theirs, "ours": ours}
            said = [f"{whose} {side['seconds']:.1f} s, {side['peak']:.0f} MB" for whose, side in sides.items()]
            yield f"        {CHECKPOINTS} checkpoints of {n_tokens(settings)} tokens: {'; '.join(said)}"


def _theirs(folder: Path, kind: str) -> dict[str, float]:
    return _said([PYTHON, str(Path(__file__).with_name("_transformer_lens_job.py")), str(folder), kind])


def _ours(folder: Path, settings: Inputs, kind: str) -> dict[str, float]:
    return _said([sys.executable, "-m", __spec__.name, str(folder), json.dumps(settings), kind])


def _said(command: list[str]) -> dict[str, float]:
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(ran.stdout.splitlines()[-1])


def _alone(place: str, settings: str, kind: str) -> None:
    torch.set_num_threads(1)
    start = time.process_time()
    sweep(Path(place), json.loads(settings), GROUPS[kind][1])
    seconds = time.process_time() - start
    print(json.dumps({"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    _alone(*sys.argv[1:])
