"""How long a report of ten million numbers takes, and in how much memory: DuckDB reduces them before they are drawn.

A thousand checkpoints of eight metrics of 1,024 heads and of the loss at 2,048 positions, and a loss logged at each of
143,000 steps. The floor is reading the same store whole, as a run of at most a million numbers is read. Each in a
process of its own; peak memory is that process's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl

from dynamics.store import Store

CHECKPOINTS, HEADS, METRICS, POSITIONS, LOGGED = 1000, 1024, 8, 2048, 143_000
SAME = "'w', 't', 1, 'r'"
JOB = """
import json, resource, sys, time
from pathlib import Path
from dashboards import reading
{how}
from dashboards.frames import read_frames
from dashboards.report import write_report
begun, used = time.perf_counter(), time.process_time()
{what}
print(json.dumps([time.perf_counter() - begun, time.process_time() - used,
                  resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
WHOLE = "reading.MAX_NUMBERS = reading.MAX_STEPS = 10**12"


def main() -> list[str]:
    """The lines to print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        numbers = _written(folder)
        jobs = {
            "read whole": (WHOLE, "read_frames(sys.argv[1])"),
            "read reduced": ("", "read_frames(sys.argv[1])"),
            "the whole report": ("", "write_report(Path(sys.argv[1]), pictures=False)"),
        }
        lines = [f"long: {numbers:,} numbers, {(folder / 'run.duckdb').stat().st_size / 1e6:.0f} MB in the store"]
        for job, (how, what) in jobs.items():
            command = [sys.executable, "-c", JOB.format(how=how, what=what), name]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seconds, used, memory = json.loads(told.splitlines()[-1])  # DuckDB may show how far it is
            lines.append(f"long: {job}: {seconds:.1f} s ({used:.1f} s of CPU), {memory:.0f} MB at most")
        return [*lines, f"long: report.html has {(folder / 'report.html').stat().st_size / 1e6:.1f} MB"]


def _written(folder: Path) -> int:
    """A run of made-up curves of which one head in sixteen rises; how many numbers it has."""
    with Store(folder) as store:
        step = f"round({LOGGED} * pow(i / {CHECKPOINTS - 1}.0, 2))::BIGINT"
        store.query(f"CREATE TEMP TABLE steps AS SELECT DISTINCT {step} AS step FROM range({CHECKPOINTS}) t(i)")
        store.query("INSERT INTO checkpoints (series, stage, step, status) "
                    "SELECT 'model', '', step, 'measured' FROM steps")  # fmt: skip
        rise = "0.05 + 0.6 * (h % 16 = 0)::INT / (1 + exp(-4 * (ln(step + 1) - ln(2000 + 2 * h))))"
        for metric in range(METRICS):
            store.query(f"INSERT INTO measurements SELECT 'model', '', step, 'score_{metric}', h // 32, h % 32, NULL, "
                        f"NULL, {rise} + 0.01 * sin(7919.0 * h + 3.1 * step), 0.01, 256, {SAME} "
                        f"FROM steps, range({HEADS}) t(h)")  # fmt: skip
        store.query(f"INSERT INTO measurements SELECT 'model', '', step, 'loss_by_position', NULL, NULL, p, NULL, "
                    f"2 + 8 * exp(-step / 5000.0) / (1 + ln(p + 1)), 0.01, 256, {SAME} "
                    f"FROM steps, range({POSITIONS}) t(p)")  # fmt: skip
        store.query(f"INSERT INTO measurements SELECT 'model', '', step, 'loss', NULL, NULL, NULL, NULL, "
                    f"2 + 8 * exp(-step / 5000.0) + 0.02 * sin(step), 0.01, 256, {SAME} "
                    f"FROM range({LOGGED}) t(step)")  # fmt: skip
        axes = {f"score_{metric}": "layer,head" for metric in range(METRICS)}
        axes |= {"loss_by_position": "index", "loss": ""}
        store.write(metrics=[{"metric": metric, "version": 1, "axes": axis} for metric, axis in axes.items()])
        rising = range(0, HEADS, 16)
        store.write_events(pl.DataFrame([_event(metric, head) for metric in range(METRICS) for head in rising]))
        return store.query("SELECT count(*) AS n FROM measurements")["n"].item()


def _event(metric: int, head: int) -> dict[str, object]:
    ends = {"onset": 1200.0, "lower": 1800.0, "midpoint": 2000.0 + 2 * head, "upper": 4500.0 + 2 * head,
            "completion": 6000.0 + 2 * head}  # fmt: skip
    sizes = {"before": 0.05, "after": 0.65, "magnitude": 0.6, "p_value": 1e-6, "q_value": 1e-5}
    return {"series": "model", "metric": f"score_{metric}", "layer": head // 32, "head": head % 32,
            "kind": "transition", "direction": "up", **ends, **sizes}  # fmt: skip
