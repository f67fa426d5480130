"""Greedy search for the shapes that a curve needs beyond a smooth null mean, then pruning of those it does not.

Noise model and null mean are chosen anew for every hypothesis, so a wandering null or a stronger power law always
competes with an event; gradual shapes compete as well, and explain without being reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamics.events.likelihood import Curve, Fit, evaluate, gains
from dynamics.events.shapes import GROUPS, Atom, Dictionary, column, columns

Array = NDArray[np.float64]

ADD = 12.0  # gain in score below which the search stops
KEEP = 20.0  # gain in score that an event must be worth in the end
KEEP_GRADUAL = 6.0
MARGIN_GRADUAL = 5.0  # what an event must gain over the best gradual shape in its place
MAX_ATOMS = 6


@dataclass(frozen=True)
class Explanation:
    """What a curve was found to be made of. `worth[k]` is the score lost when atom k is left out."""

    atoms: tuple[Atom, ...]
    fit: Fit
    worth: tuple[float, ...]
    null_score: float


def event_columns(curve: Curve, atoms: list[Atom]) -> Array:
    """Columns of the atoms, `[n_checkpoints, n_atoms]`."""
    if not atoms:
        return np.empty((curve.size, 0))
    return np.stack([column(curve.x, a) for a in atoms], axis=1)


def _totals(curve: Curve, candidates: Array, events: Array, fit: Fit, keep: float = np.inf) -> Array:
    """Best score of each candidate over noise models (at their best null mean), `[n_candidates]`."""
    total = np.full(candidates.shape[1], -np.inf)
    for noise in range(len(curve.noise.models)):
        null = int(np.argmax(fit.scores[noise]))
        if fit.scores[noise, null] < fit.score - keep:
            continue
        gain, _ = gains(curve, candidates, events, noise, null)
        total = np.maximum(total, fit.scores[noise, null] + gain)
    return total


def _neighbours(atom: Atom, reach: float, x: Array) -> tuple[Array, Array]:
    """Places and widths around an atom, on a grid that shrinks with `reach`."""
    span = max(atom.width, 0.12) * 0.5 * reach
    middle = atom.middle + span * np.linspace(-1, 1, 7)
    if atom.shape in ("hinge",):
        return atom.middle + 0.1 * reach * np.linspace(-1, 1, 9), np.zeros(9)
    width = np.clip(atom.width * 2.0 ** (0.6 * reach * np.linspace(-1, 1, 5)), 1e-3, None)
    if atom.is_event:
        width = np.minimum(width, 1.6 if atom.shape == "ramp" else 1.0)
    elif atom.shape == "wide":
        width = np.clip(width, 1.1, 2.5)
    else:
        width = np.full(1, atom.width)
    mm, ww = np.meshgrid(np.clip(middle, x[1], x[-2]) if atom.is_event else middle, width)
    return mm.ravel(), ww.ravel()


def refine(curve: Curve, atoms: list[Atom], which: int, fit: Fit) -> Atom:
    """Move one atom to the best place and width near where it is, the others fixed."""
    atom = atoms[which]
    if atom.shape == "spike" or atom.width <= 2e-3 and atom.shape == "logistic":
        return atom
    others = event_columns(curve, [a for k, a in enumerate(atoms) if k != which])
    for reach in (1.0, 0.4, 0.15):
        middle, width = _neighbours(atom, reach, curve.x)
        cand = curve.weigh(columns(curve.x, atom.shape, middle, width))
        gain, _ = gains(curve, cand, others, fit.noise, fit.null)
        best = int(np.argmax(gain))
        atom = Atom(atom.shape, float(middle[best]), float(width[best]))
    return atom


def _leaders(total: Array, dictionary: Dictionary, base: float) -> list[int]:
    """The best candidate of each group of shapes, the three strongest groups first."""
    best = []
    for group in range(len(GROUPS)):
        member = np.flatnonzero(dictionary.group == group)
        if len(member):
            best.append(int(member[np.argmax(total[member])]))
    best = [b for b in best if total[b] > base + 0.6 * KEEP_GRADUAL]
    return sorted(best, key=lambda b: -total[b])[:4]


def _grow(curve: Curve, dictionary: Dictionary, weighed: Array) -> tuple[list[Atom], Fit]:
    atoms: list[Atom] = []
    fit = evaluate(curve, event_columns(curve, atoms))
    while len(atoms) < MAX_ATOMS:
        total = _totals(curve, weighed, event_columns(curve, atoms), fit)
        options = []
        for k in _leaders(total, dictionary, fit.score):
            trial = [*atoms, dictionary.atoms[k]]
            here = evaluate(curve, event_columns(curve, trial))
            trial[-1] = refine(curve, trial, len(trial) - 1, here)
            options.append((evaluate(curve, event_columns(curve, trial)), trial))
        options = [o for o in options if o[0].score > fit.score + (ADD if o[1][-1].is_event else KEEP_GRADUAL)]
        if not options:
            break
        fit, atoms = max(options, key=lambda o: o[0].score - (0.0 if o[1][-1].is_event else -2.0))
        for which in range(len(atoms) - 1):
            atoms[which] = refine(curve, atoms, which, fit)
        fit = evaluate(curve, event_columns(curve, atoms))
    return atoms, fit


def worth_of(curve: Curve, atoms: list[Atom], which: int, fit: Fit, gradual: Array) -> float:
    """Score lost without atom `which`; for an event, also not more than its margin over a gradual replacement.

    The margin is put on the same scale: a margin of `MARGIN_GRADUAL` counts as `KEEP`.
    """
    rest = [a for k, a in enumerate(atoms) if k != which]
    columns_ = event_columns(curve, rest)
    without = evaluate(curve, columns_)
    lost = fit.score - without.score
    if not atoms[which].is_event or atoms[which].shape == "spike" or lost < KEEP:
        return lost
    replaced = float(np.max(_totals(curve, gradual, columns_, without, keep=40.0)))
    margin = fit.score - max(replaced, without.score)
    return min(lost, margin * KEEP / MARGIN_GRADUAL)


def explain(curve: Curve, dictionary: Dictionary) -> Explanation:
    """Find the atoms of a curve: grow, then drop the least worthy until each is worth keeping."""
    weighed = curve.weigh(dictionary.matrix)
    gradual = weighed[:, ~dictionary.is_event]
    null_score = evaluate(curve, event_columns(curve, [])).score
    atoms, fit = _grow(curve, dictionary, weighed)
    while atoms:
        worth = [worth_of(curve, atoms, k, fit, gradual) for k in range(len(atoms))]
        short = [w - (KEEP if a.is_event else KEEP_GRADUAL) for w, a in zip(worth, atoms, strict=True)]
        weakest = int(np.argmin(short))
        if short[weakest] >= 0:
            return Explanation(tuple(atoms), fit, tuple(worth), null_score)
        atoms = [a for k, a in enumerate(atoms) if k != weakest]
        fit = evaluate(curve, event_columns(curve, atoms))
        atoms = [refine(curve, atoms, k, fit) for k in range(len(atoms))]
        fit = evaluate(curve, event_columns(curve, atoms))
    return Explanation((), fit, (), null_score)
