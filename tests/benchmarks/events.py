"""The event detector against curves with known events: the bench's generator, and shapes that it does not draw.

    python tests/benchmarks/events.py BENCH [--seeds 2 3 101] [--per-family 40]     BENCH holds gen.py and score.py
    python tests/benchmarks/events.py --shapes [--seeds 2 3 101]                    shapes of this file, no bench
    python tests/benchmarks/events.py --adaptive PATH...       adaptive sweeps of measured histories, replayed

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
from collections.abc import Callable
from pathlib import Path

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


# --------------------------------------------------------------- shapes that the bench does not draw
# Each takes x = log10(step + 1) and a place m inside the grid, and returns the curve with the places of its events.
def delayed_exponential(x: Array, m: float) -> tuple[Array, list[float]]:
    """Nothing until s0, then relaxation with a time constant of 0.6 s0."""
    s, s0 = 10**x, 10**m
    return 1 - np.exp(-np.maximum(s - s0, 0) / (0.6 * s0)), [float(np.log10(s0 * (1 + 0.6 * np.log(2))))]


def gompertz(x: Array, m: float) -> tuple[Array, list[float]]:
    return np.exp(-np.exp(-(x - m) * 6) * np.log(2)), [m]


def asymmetric_bump(x: Array, m: float) -> tuple[Array, list[float]]:
    return np.exp(-(((x - m) / np.where(x < m, 0.15, 0.35)) ** 2)), [m]


def overshoot(x: Array, m: float) -> tuple[Array, list[float]]:
    rise = 1 / (1 + np.exp(-(x - m) * 15))
    return rise * (1 + 0.4 * np.exp(-np.maximum(x - m - 0.15, 0) / 0.2)), [m]


def two_stage(x: Array, m: float) -> tuple[Array, list[float]]:
    first, second = 1 / (1 + np.exp(-(x - m + 0.45) * 15)), 1 / (1 + np.exp(-(x - m - 0.45) * 15))
    return 0.5 * first + 0.5 * second, [m - 0.45, m + 0.45]


def late_grok(x: Array, m: float) -> tuple[Array, list[float]]:
    return 1 - 1 / (1 + np.exp(-(x - (x[-1] - 0.35)) * 25)), [float(x[-1] - 0.35)]


def fall_on_power_law(x: Array, m: float) -> tuple[Array, list[float]]:
    return 8 * 10 ** (-0.25 * x) - 1 / (1 + np.exp(-(x - m) * 14)), [m]


EVENTS: dict[str, Callable[[Array, float], tuple[Array, list[float]]]] = {
    f.__name__: f
    for f in (delayed_exponential, gompertz, asymmetric_bump, overshoot, two_stage, late_grok, fall_on_power_law)
}
NULLS: dict[str, Callable[[Array, float], Array]] = {
    "flat": lambda x, m: np.zeros_like(x),
    "two_power_laws": lambda x, m: 3 * 10 ** (-0.5 * x) + 10 ** (-0.08 * x),
    "offset_power_law": lambda x, m: (1 + 10 ** (x - m)) ** -0.3,
    "slow_ripple": lambda x, m: np.sin(2 * np.pi * (x - m) / 4.0),
    "bent_line": lambda x, m: x / 5 + 0.3 * np.logaddexp(0, (x - m) * 3) / 3,
    "log_quadratic": lambda x, m: -((x - 6) ** 2) / 20,
    "relaxation": lambda x, m: 1 - np.exp(-(10 ** (x - m))),
}


def _binomial(rng: np.random.Generator, x: Array, m: float, kind: str) -> tuple[Array, Array, list[float]]:
    """Accuracy on 200 questions with four answers: flat at chance, growing slowly, or a rise from chance."""
    rise = {"binomial_flat": 0 * x, "binomial_growing": 0.3 * x / x[-1]}.get(kind, 0.5 / (1 + np.exp(-(x - m) * 10)))
    p = 0.25 + rise
    value = rng.binomial(200, p) / 200
    return value, np.sqrt(value * (1 - value) / 200), [m] if kind == "binomial_rise" else []


def _grid(rng: np.random.Generator) -> Array:
    choice = rng.integers(4)
    if choice == 0:
        return np.array([0, *2 ** np.arange(10), *range(1000, 144000, 1000)], dtype=float)
    if choice == 1:
        return np.arange(100) * 500.0
    return np.unique(np.round(np.logspace(0, 5, [30, 80][choice - 2])))


def _draw(rng: np.random.Generator, name: str) -> tuple[Array, Array, Array, list[float]]:
    """Steps, values, standard errors and the true places of one curve."""
    step = _grid(rng)
    x = np.log10(step + 1)
    inner = x[4:-4]
    m = float(rng.uniform(max(inner[0], x[-1] - 3.5) + 0.5, inner[-1] - 0.6))
    if name.startswith("binomial"):
        value, error, places = _binomial(rng, x, m, name)
        return step, value, error, places
    curve, places = EVENTS[name](x, m) if name in EVENTS else (NULLS[name](x, m), [])
    size = 1.0 if name in EVENTS else float(np.ptp(curve) or 1.0)
    sigma = size / 10 ** rng.uniform(0.8, 1.5)
    return step, curve + rng.normal(0, sigma, len(x)), np.full(len(x), sigma), places


def other_shapes(seed: int, count: int) -> None:
    """Print, for every shape, recall and false events (or the share of curves on which something was said)."""
    rng = np.random.default_rng(seed)
    print(f"\nother shapes, seed {seed}, {count} curves each")
    for name in [*EVENTS, "binomial_rise", *NULLS, "binomial_flat", "binomial_growing"]:
        hits = total = false = fired = covered = 0
        errors: list[float] = []
        for _ in range(count):
            step, value, sigma, places = _draw(rng, name)
            found = [e for e in detect_curve(step, value, sigma) if e.kind != "spike"]
            at = np.log10(np.array([e.midpoint for e in found]) + 1)
            near = [int(np.argmin(np.abs(at - p))) if len(at) else -1 for p in places]
            good = [(k, p) for k, p in zip(near, places, strict=True) if k >= 0 and abs(at[k] - p) < 0.25]
            hits, total, fired = hits + len(good), total + len(places), fired + bool(found)
            false += len(found) - len({k for k, _ in good})
            errors += [abs(float(at[k]) - p) for k, p in good]
            covered += sum(found[k].lower <= 10**p - 1 <= found[k].upper for k, p in good)
        if total:
            error, share = np.median(errors or [np.nan]), covered / max(hits, 1)
            said = f"recall {hits / total:.2f}  extra {false / count:.2f}  error {error:.3f}  coverage {share:.2f}"
            print(f"  {name:20s} {said}")
        else:
            print(f"  {name:20s} fired {fired / count:.2f}")


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

        with Store(path) as store:
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


def _places(frame: pl.DataFrame, metrics: pl.DataFrame | None) -> list[dict[str, object]]:
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", nargs="?", type=Path, help="folder with gen.py and score.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2])
    parser.add_argument("--per-family", type=int, default=40)
    parser.add_argument("--shapes", action="store_true", help="the shapes of this file instead")
    parser.add_argument("--adaptive", type=Path, nargs="+", help="folders of runs, or the Pythia evaluations' Parquet")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 1.0], help="budgets of --adaptive")
    chosen = parser.parse_args()
    if chosen.adaptive:
        adaptive(chosen.adaptive, chosen.shares)
    elif chosen.shapes:
        for one in chosen.seeds:
            other_shapes(one, chosen.per_family)
    elif chosen.bench is None:
        parser.error("name the bench's folder, or --shapes")
    else:
        bench(chosen.bench.resolve(), chosen.seeds, chosen.per_family)
