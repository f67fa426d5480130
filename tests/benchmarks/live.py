"""How long after it is stored a new checkpoint is on the live page, with 32 heads of three metrics and one loss.

A process stores a checkpoint every second and notes when each was committed. A reader asks the page as a browser's
script does: twice a second whether anything is new, and then for the new points or, when the page was drawn anew, for
all figures. Counted until the point has arrived; drawing it in the browser is what `report` measures.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
from starlette.testclient import TestClient

from dashboards.page.app import application
from dynamics.store import Store

CHECKPOINTS = 40
EVERY = 0.5  # seconds between two questions, as in live.js
WRITER = """
    import sys, time
    from dynamics.store import Store
    with Store(sys.argv[1]) as store:
        for step in range(int(sys.argv[2])):
            shared = {"series": "model", "stage": "", "step": step, "version": 1, "weights_sha": "w", "task_hash": "t"}
            rows = [{**shared, "metric": f"score_{metric}", "layer": head // 8, "head": head % 8, "stderr": 0.01,
                     "value": 0.1 * metric + (head % 5 == 0) / (1 + 2.718281828 ** (20 - step))}
                    for metric in range(3) for head in range(32)]
            store.write(
                measurements=[*rows, {**shared, "metric": "loss", "value": 4.0 / (step + 1)}],
                checkpoints=[{"series": "model", "stage": "", "step": step, "status": "measured"}],
                metrics=[{"metric": f"score_{metric}", "version": 1, "axes": "layer,head"} for metric in range(3)],
            )
            print(step, time.time(), flush=True)
            time.sleep(1)
"""


def main() -> list[str]:
    """The lines to print."""
    with tempfile.TemporaryDirectory() as folder:
        Store(folder).close()
        seen = _followed(Path(folder))
    delays = np.array(seen)
    middle, most = np.percentile(delays, (50, 90))
    return [f"live: {len(delays)} checkpoints, on the page after {middle:.2f} s (median), {most:.2f} s (90 %), "
            f"{delays.max():.2f} s (longest); {(delays < 2).sum()} within two seconds"]  # fmt: skip


def _followed(folder: Path) -> list[float]:
    """For each checkpoint the seconds between its commit and its arrival at the reader."""
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(folder), str(CHECKPOINTS)]
    arrived: dict[int, float] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        with TestClient(application(folder), base_url="http://localhost") as client:
            at = f"/runs/{folder.resolve().name}"
            drawn = seen = client.get(f"{at}/payload").json()["stamp"]
            while writer.poll() is None or len(arrived) < CHECKPOINTS:
                now = client.get(f"{at}/stamp").json()
                steps: set[int] = set()
                if now["drawn"] != drawn:
                    fresh = client.get(f"{at}/payload").json()
                    seen = drawn = fresh["stamp"]
                    steps |= _steps(fresh["payload"]["figures"])
                if now["stamp"] != seen:
                    steps |= {point["step"] for point in client.get(f"{at}/points").json()}
                    seen = now["stamp"]
                for step in steps:
                    arrived.setdefault(step, time.time())
                time.sleep(EVERY)
        stored = dict(line.split() for line in writer.stdout or ())
    return [arrived[step] - float(stored[str(step)]) for step in range(CHECKPOINTS)]


def _steps(figures: list[dict]) -> set[int]:
    """The steps that have a point in the figure of the loss."""
    for figure in figures:
        for rows in figure["datasets"].values():
            columns = rows["columns"]
            curves = columns.get("curve", {}).get("texts", [])
            if "step" in columns and any("|loss|" in curve for curve in curves):
                return {int(step) for step in columns["step"]["values"] if step is not None}
    return set()
