"""The event detector against curves with known events, and adaptive sweeps; `shapes.py` holds shapes of our own.

    python tests/benchmarks/events.py BENCH [--seeds 2 3 101] [--per-family 40]     BENCH holds gen.py and score.py
    python tests/benchmarks/events.py --adaptive PATH...       adaptive sweeps of measured histories, replayed
    python tests/benchmarks/events.py --chance PARQUET         events of published accuracies that never leave chance

`detect` is the adapter that the bench's own runner calls:

    PYTHONPATH=tests/benchmarks python BENCH/run_bench.py DATA --module events:detect --name dynamics
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402  numpy counts its threads when it is loaded
import polars as pl  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from dynamics.events import detect as detect_all  # noqa: E402
from dynamics.events import detect_curve, next_steps  # noqa: E402
from dynamics.events.schema import KEYS  # noqa: E402

Array = NDArray[np.float64]


def detect(step: Array, value: Array, stderr: Array | None) -> list[dict[str, object]]:
    """Events of one curve in the words of the bench."""
    sign = {"up": 1, "down": -1}
    return [
        {"step": e.midpoint, "kind": e.kind, "direction": sign[e.direction], "step_lo": e.lower, "step_hi": e.upper,
         "pvalue": e.p_value}
        for e in detect_curve(step, value, stderr)
    ]  # fmt: skip


def bench(folder: Path, seeds: list[int], per_family: int) -> None:
    """Generate, detect and score; print the bench's table, one row a seed."""
    sys.path.insert(0, str(folder))
    score = importlib.import_module("score")
    print("| seed | F1 events | F1 all | false on nulls | worst null | grey | location median / p90 | direction | kind "
          "| coverage / width | FDP mean / worst | TPR | recall 24 | ms |")  # fmt: skip
    print("|" + " --- |" * 14)
    for seed in seeds:
        with tempfile.TemporaryDirectory() as data:
            command = [
                sys.executable,
                folder / "gen.py",
                "--seed",
                str(seed),
                "--out",
                data,
                "--per-family",
                str(per_family),
            ]
            subprocess.run([*map(str, command), "--panels", "4"], check=True, capture_output=True)
            print(_row(score, seed, data), flush=True)


def _row(score: object, seed: int, data: str) -> str:
    curves, truth, meta = score.load(data)  # type: ignore[attr-defined]
    found, spent = {}, []
    for name, table in curves.items():
        start = time.process_time()
        events = detect(table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy())
        spent.append(time.process_time() - start)
        found[name] = [{k: str(v) for k, v in e.items()} for e in events]
    r, families, _ = score.evaluate(curves, truth, meta, found)  # type: ignore[attr-defined]
    nulls = {m["family"] for m in meta.values() if m["role"] == "null"}
    worst = max(families[f]["fired"] for f in nulls)
    short = {k: m for k, m in meta.items() if m["grid"] == "log24" and m["role"] == "event"}
    recall = score.evaluate(curves, truth, short, found)[0]["R_event"]  # type: ignore[attr-defined]
    panel = score.panels(curves, truth, meta, found)  # type: ignore[attr-defined]
    fdp, tpr = [p["fdp"] for p in panel], [p["tpr"] for p in panel]
    return (
        f"| {seed} | {r['F1_event']:.3f} | {r['F1_all']:.3f} | {r['FPR']:.3f} | {worst:.3f} | {r['grey_fired']:.3f} | "
        f"{r['loc']:.4f} / {r['loc90']:.3f} | {r['dir']:.3f} | {r['kind']:.3f} | {r['cover']:.3f} / {r['ciw']:.3f} | "
        f"{np.mean(fdp):.3f} / {max(fdp):.3f} | {np.mean(tpr):.3f} | {recall:.3f} | {1e3 * np.mean(spent):.0f} |"
    )


# --------------------------------------------------------------- adaptive sweeps, replayed on whole histories
def histories(path: Path) -> tuple[list[pl.DataFrame], pl.DataFrame | None]:
    """Measured histories, one frame a series, and the metrics' bounds: of a run's folder, or of the Pythia suite's
    published evaluations (a Parquet file of `model, step, task, metric, value`), of which LAMBADA is taken."""
    if path.is_dir():
        from dynamics.store import Store

        with Store(path, read_only=True) as store:
            return store.read("curves").partition_by("series"), store.read("metrics")
    wide = pl.read_parquet(path).filter(pl.col("task") == "lambada_openai", pl.col("metric").str.starts_with("acc"))
    wide = wide.pivot(on="metric", index=["model", "step"], values="value")
    named = wide.select(pl.col("model").alias("series"), "step", pl.lit("acc").alias("metric"),
                        pl.col("acc").alias("value"), pl.col("acc_stderr").alias("stderr"))  # fmt: skip
    bounds = pl.DataFrame({"metric": ["acc"], "lower": [0.0], "upper": [1.0]})
    return named.sort("series", "step").partition_by("series"), bounds


def replay(full: pl.DataFrame, budget: int, metrics: pl.DataFrame | None) -> pl.DataFrame:
    """The measurements that an adaptive sweep with this budget would have made."""
    steps, have = full["step"].unique().to_list(), full.clear()
    while more := next_steps(have, steps, budget, metrics):
        have = full.filter(pl.col("step").is_in([*have["step"].to_list(), *more]))
    return have


def _places(frame: pl.DataFrame, metrics: pl.DataFrame | None) -> list[dict[str, Any]]:
    return detect_all(frame, metrics=metrics).filter(pl.col("kind") != "spike").to_dicts()


def _again(full: pl.DataFrame, few: pl.DataFrame, metrics: pl.DataFrame | None) -> np.ndarray:
    """Counts: events of the full history, found again, and at most one gap wider; the same three of the strongest
    event of each curve; events of the few alone."""
    at = np.log10(np.sort(full["step"].unique().to_numpy()) + 1.0)
    found, left, counts = _places(full, metrics), _places(few, metrics), np.zeros(7, dtype=int)
    for event in found:
        same = [e for e in left if all(e[k] == event[k] for k in (*KEYS, "kind", "direction"))
                and e["lower"] <= event["upper"] and event["lower"] <= e["upper"]]  # fmt: skip
        k = int(np.clip(np.searchsorted(at, np.log10(event["midpoint"] + 1)), 1, len(at) - 1))
        gap = float(np.max(np.diff(at)[max(k - 2, 0) : k + 1]))
        width = [float(np.diff(np.log10(np.array([e["lower"], e["upper"]]) + 1))[0]) for e in (event, *same[:1])]
        row = np.array([1, bool(same), bool(same) and width[1] <= width[0] + gap + 1e-9])
        others = [e for e in found if all(e[k] == event[k] for k in KEYS)]
        counts[:3] += row
        counts[3:6] += row * (event["p_value"] <= min(e["p_value"] for e in others))
        left = [e for e in left if e is not (same[0] if same else None)]
    counts[6] = len(left)
    return counts


def adaptive(paths: list[Path], shares: list[float]) -> None:
    """Print, for every history and budget (a share of its checkpoints), what is found again."""
    print("| history | checkpoints | budget | measured | events: all / again / as narrow "
          "| strongest of each curve: all / again / as narrow | not in the full history |")  # fmt: skip
    print("|" + " --- |" * 7)
    for path in paths:
        series, metrics = histories(path)
        for share in shares:
            counts, measured, total = np.zeros(7, dtype=int), 0, 0
            for full in series:
                n = full["step"].n_unique()
                few = replay(full, max(8, int(share * n)), metrics)
                counts += _again(full, few, metrics)
                measured, total = measured + few["step"].n_unique(), total + n
            c, k = counts, len(series)
            print(f"| {path.stem} | {total / k:.0f} | {share:.2f} | {measured / k:.1f} | {c[0]} / {c[1]} / {c[2]} | "
                  f"{c[3]} / {c[4]} / {c[5]} | {c[6]} |", flush=True)  # fmt: skip


# --------------------------------------------------------------- published accuracies that never leave chance
CHANCE = {"hendrycksTest": 0.25, "logiqa": 0.25, "winogrande": 0.5, "wsc": 0.5}
NEAR, LEARNT = 0.05, 3000


def chance(path: Path) -> None:
    """Print how many curves of the Pythia suite stay within 0.05 of chance after step 3000, on average, and how many
    of them are said to have an event: with the default smallest change of an accuracy, and with none."""
    wide = pl.read_parquet(path).filter(pl.col("metric").is_in(["acc", "acc_stderr"]))
    wide = wide.pivot(on="metric", index=["model", "step", "task"], values="value")
    named = wide.select(pl.col("model").alias("series"), "step", pl.lit("acc").alias("metric"),
                        pl.col("task").alias("label"), pl.col("acc").alias("value"),
                        pl.col("acc_stderr").alias("stderr"))  # fmt: skip
    bounds = pl.DataFrame({"metric": ["acc"], "lower": [0.0], "upper": [1.0]})
    print("| task | curves | at chance | with an event | with an event of any size | spikes |")
    print("|" + " --- |" * 6)
    for task, level in CHANCE.items():
        curves = named.filter(pl.col("label").str.starts_with(task))
        late = curves.filter(pl.col("step") > LEARNT).group_by("series", "label").agg(pl.col("value").mean())
        kept = late.filter((pl.col("value") - level).abs() <= NEAR).select("series", "label")
        of = curves.join(kept, on=["series", "label"])
        every = detect_all(of, metrics=bounds, min_size=0.0)
        large = detect_all(of, metrics=bounds).filter(pl.col("kind") != "spike")
        counts = [f.select("series", "label").n_unique() for f in (large, every.filter(pl.col("kind") != "spike"))]
        spikes = int((every["kind"] == "spike").sum())
        print(f"| {task} | {len(late)} | {len(kept)} | {counts[0]} | {counts[1]} | {spikes} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", nargs="?", type=Path, help="folder with gen.py and score.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2])
    parser.add_argument("--per-family", type=int, default=40)
    parser.add_argument("--adaptive", type=Path, nargs="+", help="folders of runs, or the Pythia evaluations' Parquet")
    parser.add_argument("--chance", type=Path, help="the Pythia evaluations' Parquet")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 1.0], help="budgets of --adaptive")
    chosen = parser.parse_args()
    if chosen.adaptive:
        adaptive(chosen.adaptive, chosen.shares)
    elif chosen.chance:
        chance(chosen.chance)
    elif chosen.bench is None:
        parser.error("name the bench's folder, --adaptive or --chance")
    else:
        bench(chosen.bench.resolve(), chosen.seeds, chosen.per_family)
