"""How often curves without events are said to have one, and how small their p-values are.

    python tests/benchmarks/nulls.py [--seed 5003] [--count 1200] [--long]

Every curve draws its history (log-spaced, even in steps, powers of two and then even, gappy, staged, a block missing; 8
to 200 checkpoints), what it does (flat, power laws, drift, walks ...), its noise, and whether it has standard errors.
With `--long` every history is of 20,000 checkpoints, as when a loss is logged at each step.
A p-value is honest where the share of curves with one at most p is p. The constants of `p_value` in
`dynamics/events/thresholds.py` were read off 5,393 curves drawn like these.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402  numpy counts its threads when it is loaded
from numpy.typing import NDArray  # noqa: E402

from dynamics.events import detect_curve  # noqa: E402
from dynamics.events.likelihood import evaluate  # noqa: E402
from dynamics.events.preparation import FEWEST, prepare  # noqa: E402

Array = NDArray[np.float64]
Random = np.random.Generator
HISTORIES = ("log-spaced", "even", "doubling, then even", "log-spaced, gappy", "even, gappy", "staged", "block missing")
CURVES = ("flat", "power law", "rising power law", "drift", "walk in log-steps", "walk in checkpoints", 
          "autoregressive", "uneven noise", "heavy tails", "accuracy", "returning walk", "two power laws")  # fmt: skip
WANDERING = ("drift", "walk in log-steps", "walk in checkpoints", "returning walk")
LEVELS = (0.002, 0.005, 0.01, 0.025, 0.05)
LONG = 20_000
SIZES = (8, 24, 35, 60, 100, 250, LONG + 1)


def _thinned(random: Random, steps: Array, most: float) -> Array:
    keep = random.random(len(steps)) > random.uniform(0.2, most)
    keep[[0, -1]] = True
    return steps[keep]


def history(random: Random, name: str) -> Array:
    """Steps of the checkpoints of one run."""
    top, size = 10 ** random.uniform(3, 5.7), int(np.exp(random.uniform(np.log(8), np.log(180))))

    def spaced(count: int) -> Array:
        log = np.linspace(float(random.choice([0, 0, 1, 2])), np.log10(top), count, dtype=np.float64)
        return np.unique(np.round(10**log)).astype(np.float64)

    steps: Array
    if name == "log-spaced":
        steps = spaced(size)
    elif name == "even":
        steps = np.arange(max(size, 20), dtype=np.float64) * float(random.choice([10, 100, 500, 1000]))
    elif name == "doubling, then even":
        every = float(random.choice([500, 1000, 2000]))
        doubling = 2.0 ** np.arange(int(np.log2(every)) + 1)
        steps = np.unique(np.concatenate([[0.0], doubling, np.arange(1, int(random.integers(20, 150))) * every]))
    elif name == "log-spaced, gappy":
        steps = _thinned(random, spaced(int(size * 1.6) + 4), 0.55)
    elif name == "even, gappy":
        steps = _thinned(random, np.arange(int(size * 1.6) + 10, dtype=np.float64) * 100, 0.6)
    elif name == "staged":
        a = float(random.choice([10, 50]))
        last = np.arange(100 * a, 100 * a * random.integers(3, 20), random.choice([20, 50, 100]) * a)
        steps = np.unique(np.concatenate([np.arange(0, 10 * a, a), np.arange(10 * a, 100 * a, 10 * a), last]))
    else:
        steps = spaced(max(size, 24))
        start = int(random.integers(3, max(4, len(steps) - 6)))
        steps = np.delete(steps, slice(start, start + int(random.integers(2, max(3, len(steps) // 5)))))
    return np.concatenate([[0.0], steps]) if steps[0] > 0 and random.random() < 0.4 else steps


def _recursive(random: Random, keep: Array) -> Array:
    """Noise of unit spread of which each value keeps a share of the one before it."""
    out = random.normal(size=len(keep))
    for k in range(1, len(keep)):
        out[k] = keep[k] * out[k - 1] + np.sqrt(1 - keep[k] ** 2) * out[k]
    return out


def _wander(random: Random, x: Array, name: str) -> Array:
    """A curve that drifts or walks."""
    n = len(x)
    if name == "drift":
        kernel = np.exp(-0.5 * ((x[:, None] - x) / random.uniform(1.5, 3)) ** 2) + 1e-8 * np.eye(n)
        return np.linalg.cholesky(kernel) @ random.normal(size=n) * random.uniform(0.4, 1)
    if name == "walk in log-steps":
        moves = random.normal(size=n) * np.sqrt(np.diff(x, prepend=x[0]) / (x[-1] - x[0]))
        return np.cumsum(moves) * random.uniform(0.3, 1)
    if name == "walk in checkpoints":
        return np.cumsum(random.normal(size=n)) / np.sqrt(n) * random.uniform(0.3, 1)
    keep = np.exp(-np.diff(x, prepend=x[0]) / random.uniform(0.2, 1))
    return _recursive(random, keep) * random.uniform(0.1, 0.6)


def _mean(random: Random, x: Array, name: str) -> Array:
    """What a curve without events does, noise apart."""
    if name in WANDERING:
        return _wander(random, x, name)
    fall = 10 ** (-random.uniform(0.08, 0.6) * x)
    fall = (fall - fall[-1]) / (fall[0] - fall[-1])
    if name in ("power law", "rising power law"):
        return fall * random.uniform(0.5, 3) * (1 if name == "power law" else -1)
    if name == "two power laws":
        return 3 * 10 ** (-0.5 * x) + random.uniform(0.3, 1) * 10 ** (-0.08 * x)
    return np.zeros(len(x)) if name == "flat" else fall * random.choice([0, 1, 2])


def draw(random: Random, step: Array, name: str) -> tuple[Array, Array | None]:
    """Values of one curve without events, and standard errors for three in four."""
    x, n = np.log10(step + 1), len(step)
    told = random.random() < 0.75
    if name == "accuracy":
        questions = int(random.choice([100, 250, 1000]))
        rate = random.choice([0.02, 0.25, 0.25, 0.5]) + (0.2 * x / x[-1] if random.random() < 0.3 else 0 * x)
        value = random.binomial(questions, rate) / questions
        return value, np.sqrt(value * (1 - value) / questions) if told else None
    noise = random.normal(size=n)
    sigma = np.full(n, 10 ** random.uniform(-1.5, -0.5))
    if name == "autoregressive":
        noise = _recursive(random, np.full(n, random.uniform(0.3, 0.85)))
    if name == "heavy tails":
        noise = random.standard_t(3, n) / np.sqrt(3)
    if name == "uneven noise":
        first, last = random.permutation([0.0, random.uniform(0.7, 1.6)])
        sigma = sigma * np.exp(np.linspace(first, last, n))
    stated = sigma * random.choice([1, 1, 0.5, 0.7, 1.5, 2.3]) * np.sqrt(random.chisquare(40, n) / 40)
    return _mean(random, x, name) + sigma * noise, stated if told else None


def judge(step: Array, value: Array, error: Array | None) -> tuple[bool, float]:
    """Whether the noise of the curve's best explanation without events wanders, and its smallest p-value."""
    prepared = prepare(step, value, error)
    if prepared is None:
        return False, 1.0
    curve = prepared[0]
    null = evaluate(curve, np.empty((curve.size, 0)))
    smallest = min((e.p_value for e in detect_curve(step, value, error) if e.kind != "spike"), default=1.0)
    return curve.noise.models[null.noise].family >= 0, smallest


def table(seed: int, count: int, *, long: bool = False) -> None:
    """Print the share of curves with an event and with small p-values: by noise and size, by history, by curve."""
    rows: list[tuple[tuple[str, str, str], float]] = []
    for k in range(count):
        random = np.random.default_rng([seed, k])
        name, curve = "each step" if long else str(random.choice(HISTORIES)), CURVES[k % len(CURVES)]
        if long and curve == "drift":
            continue  # a Gaussian process of 20,000 numbers does not fit into memory
        step = np.arange(LONG, dtype=np.float64) if long else history(random, name)
        if len(step) >= FEWEST:
            wanders, p = judge(step, *draw(random, step, curve))
            size = int(np.searchsorted(SIZES, len(step), side="right"))
            where = f"{SIZES[size - 1]} to {SIZES[size] - 1}"
            rows.append(((f"{'wanders' if wanders else 'quiet'}, {where} checkpoints", name, curve), p))
    print("| curves | number | with an event | " + " | ".join(f"p ≤ {level}" for level in LEVELS) + " |")
    print("|" + " --- |" * (3 + len(LEVELS)))
    for part in (None, 0, 1, 2):
        for name in sorted({"all" if part is None else keys[part] for keys, _ in rows}):
            p = np.array([p for keys, p in rows if part is None or keys[part] == name])
            shares = [f"{np.mean(p <= level):.4f}" for level in LEVELS]
            print(f"| {name} | {len(p)} | {np.mean(p < 1):.4f} | " + " | ".join(shares) + " |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=5003)
    parser.add_argument("--count", type=int, default=1200)
    parser.add_argument("--long", action="store_true")
    chosen = parser.parse_args()
    table(chosen.seed, chosen.count, long=chosen.long)
