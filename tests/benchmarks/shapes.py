"""The event detector on shapes and noises that the bench's generator does not draw.

    python tests/benchmarks/shapes.py [--seeds 7 8] [--count 40]

Every curve draws its checkpoints (dense, even, sparse, log-spaced), its size, and its noise: white, AR(1) or Student's
t with 3 degrees of freedom, with standard errors for two thirds of the curves.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402  numpy counts its threads when it is loaded
from numpy.typing import NDArray  # noqa: E402

from dynamics.events import detect_curve  # noqa: E402

Array = NDArray[np.float64]
Random = np.random.Generator
NEAR = 0.25  # decades within which an event is a hit


def sigmoid(x: Array, m: float, width: float = 0.3) -> Array:
    return 1 / (1 + np.exp(-np.clip((x - m) * 2 * np.log(9) / width, -60, 60)))


# Each takes x = log10(step + 1) and a place m inside the grid, and returns the curve with the places of its events.
def delayed_exponential(x: Array, m: float) -> tuple[Array, list[float]]:
    """Nothing until s0, then relaxation with a time constant of 0.6 s0."""
    s, s0 = 10**x, 10**m
    return 1 - np.exp(-np.maximum(s - s0, 0) / (0.6 * s0)), [float(np.log10(s0 * (1 + 0.6 * np.log(2))))]


def gompertz(x: Array, m: float) -> tuple[Array, list[float]]:
    return np.exp(-np.exp(-(x - m) * 6) * np.log(2)), [m]


def asymmetric_sigmoid(x: Array, m: float) -> tuple[Array, list[float]]:
    """Richards' curve, early half slow and late half fast."""
    return (1 + 7 * np.exp(-(x - m) * 25)) ** (-1 / 3), [m]


def logistic_in_steps(x: Array, m: float) -> tuple[Array, list[float]]:
    """A logistic in raw steps, as of a rise that feeds on itself: 10 % to 90 % within 0.9 s0."""
    s, s0 = 10**x, 10**m
    return 1 / (1 + np.exp(-np.clip((s - s0) * 2 * np.log(9) / (0.9 * s0), -60, 60))), [m]


def asymmetric_bump(x: Array, m: float) -> tuple[Array, list[float]]:
    return np.exp(-(((x - m) / np.where(x < m, 0.15, 0.35)) ** 2)), [m]


def overshoot(x: Array, m: float) -> tuple[Array, list[float]]:
    return sigmoid(x, m) * (1 + 0.4 * np.exp(-np.maximum(x - m - 0.15, 0) / 0.2)), [m]


def two_stage(x: Array, m: float) -> tuple[Array, list[float]]:
    return 0.5 * sigmoid(x, m - 0.45) + 0.5 * sigmoid(x, m + 0.45), [m - 0.45, m + 0.45]


def staircase(x: Array, m: float) -> tuple[Array, list[float]]:
    """Three quanta, 0.8 decades apart, the later the smaller."""
    places = [m - 0.8, m, m + 0.8]
    return sum(
        (h * sigmoid(x, p, 0.25) for h, p in zip((1.0, 0.7, 0.5), places, strict=True)), np.zeros_like(x)
    ), places


def late_grok(x: Array, m: float) -> tuple[Array, list[float]]:
    return sigmoid(x, x[-1] - 0.35, 0.18), [float(x[-1] - 0.35)]


def fall_on_power_law(x: Array, m: float) -> tuple[Array, list[float]]:
    return 8 * 10 ** (-0.25 * x) - sigmoid(x, m), [m]


def double_descent(x: Array, m: float) -> tuple[Array, list[float]]:
    """Test loss falls, rises to a peak and falls again."""
    return 4 * 10 ** (-0.3 * x) + np.exp(-(((x - m) / 0.25) ** 2)), [m]


def learning_rate_drop(x: Array, m: float) -> tuple[Array, list[float]]:
    """A loss that falls at once when the learning rate is divided by ten, on a power law."""
    s, s0 = 10**x, 10**m
    drop = np.where(s > s0, 1 - np.exp(-np.maximum(s - s0, 0) / (0.1 * s0)), 0.0)
    return 4 * 10 ** (-0.2 * x) - drop, [float(np.log10(s0 * (1 + 0.1 * np.log(2))))]


def far_first(x: Array, m: float) -> tuple[Array, list[float]]:
    """A rise on a curve whose first checkpoint lies far off."""
    return sigmoid(x, m) + 3.0 * (np.arange(len(x)) == 0), [m]


EVENTS: dict[str, Callable[[Array, float], tuple[Array, list[float]]]] = {
    f.__name__: f
    for f in (delayed_exponential, gompertz, asymmetric_sigmoid, logistic_in_steps, asymmetric_bump, overshoot,
              two_stage, staircase, late_grok, fall_on_power_law, double_descent, learning_rate_drop, far_first)
}  # fmt: skip
NULLS: dict[str, Callable[[Array, float], Array]] = {
    "flat": lambda x, m: np.zeros_like(x),
    "far_first_checkpoint": lambda x, m: 1.0 * (np.arange(len(x)) == 0),
    "two_power_laws": lambda x, m: 3 * 10 ** (-0.5 * x) + 10 ** (-0.08 * x),
    "offset_power_law": lambda x, m: (1 + 10 ** (x - m)) ** -0.3,
    "power_law_after_warm_up": lambda x, m: 10 ** (-0.15 * np.logaddexp(2 * np.log(10), x * np.log(10)) / np.log(10)),
    "cosine_decay": lambda x, m: 3 * 10 ** (-0.2 * x) - 0.1 * (1 - np.cos(np.pi * (10**x) / 10 ** x[-1])),
    "many_quanta": lambda x, m: sum((k**-1.5 * sigmoid(x, 0.6 + 0.9 * np.log2(k), 0.5) for k in range(1, 30)), 0 * x),
    "slow_ripple": lambda x, m: np.sin(2 * np.pi * (x - m) / 4.0),
    "bent_line": lambda x, m: x / 5 + 0.3 * np.logaddexp(0, (x - m) * 3) / 3,
    "log_quadratic": lambda x, m: -((x - 6) ** 2) / 20,
    "relaxation": lambda x, m: 1 - np.exp(-(10 ** (x - m))),
}
# Accuracy on a few hundred questions: the chance of a right answer at each checkpoint, and the number of questions.
ACCURACY: dict[str, tuple[Callable[[Array, float], Array], int]] = {
    "chance_of_four": (lambda x, m: np.full_like(x, 0.25), 200),
    "chance_of_two": (lambda x, m: np.full_like(x, 0.5), 100),
    "near_zero": (lambda x, m: np.full_like(x, 0.01), 500),
    "slow_growth": (lambda x, m: 0.25 + 0.3 * x / x[-1], 200),
    "rise_from_chance": (lambda x, m: 0.25 + 0.5 * sigmoid(x, m, 0.45), 200),
    "floor_to_ceiling": (sigmoid, 100),
}
WALKS = ("ornstein_uhlenbeck", "random_walk")
RISES = ("rise_from_chance", "floor_to_ceiling")
DENSE = np.array([0, *2 ** np.arange(10), *range(1000, 144000, 1000)], dtype=float)


def grid(random: Random) -> Array:
    choice = int(random.integers(5))
    if choice == 0:
        return DENSE
    if choice == 1:
        return np.arange(100, dtype=np.float64) * 500
    if choice == 2:
        full = np.unique(np.round(np.logspace(0, 5, 90)))
        return full[np.sort(random.choice(len(full), 45, replace=False))]
    return np.unique(np.round(np.logspace(0, 5, [30, 80][choice - 3])))


def walk(random: Random, x: Array, name: str) -> Array:
    """A wandering curve of unit spread: returning to its mean within half a decade, or not at all."""
    gaps = np.diff(x, prepend=x[0])
    keep = np.exp(-gaps / 0.5) if name == "ornstein_uhlenbeck" else np.ones_like(x)
    size = np.sqrt(1 - keep**2) if name == "ornstein_uhlenbeck" else np.sqrt(gaps / (x[-1] - x[0]))
    out = np.zeros_like(x)
    for k in range(1, len(x)):
        out[k] = keep[k] * out[k - 1] + size[k] * random.normal()
    return out


def noise(random: Random, n: int, kind: str) -> Array:
    """Noise of unit spread."""
    if kind == "t3":
        return random.standard_t(3, n) / np.sqrt(3)
    out = random.normal(size=n)
    for k in range(1, n if kind == "ar1" else 0):
        out[k] = 0.6 * out[k - 1] + 0.8 * out[k]
    return out


def draw(random: Random, name: str, step: Array, kind: str) -> tuple[Array, Array | None, list[float]]:
    """Values, standard errors (none for every third curve) and the true places of one curve."""
    x = np.log10(step + 1)
    edge = min(4, len(x) // 4)
    low, high = max(x[edge], x[-1] - 3.5) + 0.5, x[-1 - edge] - 0.6
    m = float(random.uniform(low, high)) if high > low else float((x[0] + x[-1]) / 2)
    if name in ACCURACY:
        rate, questions = ACCURACY[name]
        value = random.binomial(questions, np.clip(rate(x, m), 0, 1)) / questions
        return value, np.sqrt(value * (1 - value) / questions), [m] if name in RISES else []
    curve, places = (
        EVENTS[name](x, m) if name in EVENTS else (walk(random, x, name) if name in WALKS else NULLS[name](x, m), [])
    )
    size = 1.0 if name in EVENTS or name in WALKS else float(np.ptp(curve) or 1.0)
    sigma = size / 10 ** random.uniform(0.8, 1.5)
    error = np.full(len(x), sigma) if random.random() < 2 / 3 else None
    return curve + sigma * noise(random, len(x), kind), error, places


def row(random: Random, name: str, count: int) -> str:
    """One line of the table: what was found of a shape, or how often something was said of a null."""
    hits = total = false = fired = covered = 0
    errors: list[float] = []
    for k in range(count):
        step = grid(random)
        value, error, places = draw(random, name, step, ("white", "ar1", "t3")[k % 3])
        found = [e for e in detect_curve(step, value, error) if e.kind != "spike"]
        at = np.log10(np.array([e.midpoint for e in found]) + 1)
        near = [int(np.argmin(np.abs(at - p))) if len(at) else -1 for p in places]
        good = [(k, p) for k, p in zip(near, places, strict=True) if k >= 0 and abs(at[k] - p) < NEAR]
        hits, total, fired = hits + len(good), total + len(places), fired + bool(found)
        false += len(found) - len({k for k, _ in good})
        errors += [abs(float(at[k]) - p) for k, p in good]
        covered += sum(found[k].lower <= 10**p - 1 <= found[k].upper for k, p in good)
    if not total:
        return f"| {name} | | {fired / count:.2f} | | |"
    middle, share = np.median(errors or [np.nan]), covered / max(hits, 1)
    return f"| {name} | {hits / total:.2f} | {false / count:.2f} | {middle:.3f} | {share:.2f} |"


def shapes(seeds: list[int], count: int) -> None:
    random = np.random.default_rng(seeds)
    print(
        "| shape | recall | false events a curve (nulls: share with one) | location | coverage |\n" + "| --- " * 5 + "|"
    )
    for name in [*EVENTS, *ACCURACY, *NULLS, *WALKS]:
        print(row(random, name, count * len(seeds)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    parser.add_argument("--count", type=int, default=40)
    chosen = parser.parse_args()
    shapes(chosen.seeds, chosen.count)
