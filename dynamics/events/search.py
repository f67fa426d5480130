"""Greedy search for the shapes that a curve needs beyond a smooth null mean, then pruning of those it does not.

Noise model and null mean are chosen anew for every hypothesis, so a wandering null or a stronger power law always
competes with an event; gradual shapes compete as well, and explain without being reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamics.events.likelihood import Curve, Fit, evaluate, gains
from dynamics.events.shapes import GROUPS, Atom, Dictionary, column, columns, complete

Array = NDArray[np.float64]

ADD = 12.0  # gain in score below which the search stops
# Gain in score that an event must be worth in the end. Walks look like bumps more often than like steps.
KEEP = {"logistic": 22.0, "late_tail": 22.0, "early_tail": 22.0, "ramp": 20.0, "hinge": 22.0, "bump": 28.0, "spike": 30.0}
LEAST = min(KEEP.values())
KEEP_GRADUAL = 6.0
# What an event must gain over the best gradual shape in its place.
MARGIN = {"bump": 5.0, "hinge": -2.0, "ramp": 1.0}
MARGIN_LEVEL = 4.0
# Shapes with a place and a width must beat those with a place alone by this much.
COST = {"hinge": 0.0, "spike": 0.0}
COST_WIDTH = 3.0
MAX_ATOMS = 6


@dataclass(frozen=True)
class Explanation:
    """What a curve was found to be made of. 

    `worth[k]` is the score lost when atom k is left out, `margin[k]` when a gradual shape takes its place.
    """

    atoms: tuple[Atom, ...]
    fit: Fit
    worth: tuple[float, ...]
    margin: tuple[float, ...]
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
    mm, ww = (a.ravel() for a in np.meshgrid(middle, width))
    if atom.is_event:
        ok = complete(x, mm, ww)
        if not ok.any():
            return np.array([atom.middle]), np.array([atom.width])
        mm, ww = mm[ok], ww[ok]
    return mm, ww


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
        total = _totals(curve, weighed, event_columns(curve, atoms), fit, np.inf if not atoms else 30.0)
        options = []
        for k in _leaders(total, dictionary, fit.score):
            trial = [*atoms, dictionary.atoms[k]]
            here = evaluate(curve, event_columns(curve, trial))
            trial[-1] = refine(curve, trial, len(trial) - 1, here)
            options.append((evaluate(curve, event_columns(curve, trial)), trial))
        options = [o for o in options if o[0].score > fit.score + (ADD if o[1][-1].is_event else KEEP_GRADUAL)]
        if not options:
            break
        fit, atoms = max(options, key=lambda o: o[0].score - COST.get(o[1][-1].shape, COST_WIDTH))
        for which in range(len(atoms) - 1):
            atoms[which] = refine(curve, atoms, which, fit)
        fit = evaluate(curve, event_columns(curve, atoms))
    return _split(curve, atoms, fit)


def _split(curve: Curve, atoms: list[Atom], fit: Fit) -> tuple[list[Atom], Fit]:
    """Try two level changes in the place of each wide shape: a greedy search covers a pair with one wide shape."""
    for k in range(len(atoms)):
        atom = atoms[k]
        wide = 1.34 if atom.shape == "relaxation" else atom.width
        if atom.shape in ("spike", "hinge", "bend", "power") or wide < 0.4 or len(atoms) >= MAX_ATOMS:
            continue
        half = 0.5 if atom.shape == "bump" else 0.35
        pair = [Atom("logistic", atom.middle + side * half * wide, 0.25) for side in (-1, 1)]
        if not complete(curve.x, np.array([p.middle for p in pair]), np.array([0.3, 0.3])).all():
            continue
        trial, here = _polish(curve, [*atoms[:k], pair[0], *atoms[k + 1 :], pair[1]])
        if here.score > fit.score + 0.6 * ADD:
            atoms, fit = trial, here
    return atoms, fit


def _standing(
    curve: Curve, atoms: list[Atom], which: int, fit: Fit, gradual: tuple[Array, list[Atom]]
) -> tuple[float, float, Atom | None]:
    """Score lost without atom `which`, its margin over the best gradual shape in its place, and that shape.

    The margin is infinite for shapes that need no such comparison: spikes and gradual shapes themselves.
    """
    rest = event_columns(curve, [a for k, a in enumerate(atoms) if k != which])
    without = evaluate(curve, rest)
    lost = fit.score - without.score
    if not atoms[which].is_event or atoms[which].shape == "spike" or lost < LEAST or not gradual[1]:
        return lost, np.inf, None
    total = _totals(curve, gradual[0], rest, without, keep=40.0)
    best = int(np.argmax(total))
    return lost, fit.score - max(float(total[best]), without.score), gradual[1][best]


def _polish(curve: Curve, atoms: list[Atom]) -> tuple[list[Atom], Fit]:
    """Refit after a change of the set of atoms."""
    fit = evaluate(curve, event_columns(curve, atoms))
    atoms = list(atoms)
    for k in range(len(atoms)):
        atoms[k] = refine(curve, atoms, k, fit)
    return atoms, evaluate(curve, event_columns(curve, atoms))


def _share(atoms: list[Atom], fit: Fit, null_score: float) -> float:
    """What each event is worth on average over the null with its own, wandering noise.

    Left out one at a time, each looks indispensable once the others have let the noise model become white.
    """
    events = sum(a.is_event for a in atoms)
    return (fit.score - null_score - KEEP_GRADUAL * (len(atoms) - events)) / max(events, 1)


def explain(curve: Curve, dictionary: Dictionary) -> Explanation:
    """Find the atoms of a curve: grow, then drop the least worthy until each is worth keeping."""
    weighed = curve.weigh(dictionary.matrix)
    names = [a for a in dictionary.atoms if not a.is_event]
    gradual = (weighed[:, ~dictionary.is_event], names)
    null_score = evaluate(curve, event_columns(curve, [])).score
    atoms, fit = _grow(curve, dictionary, weighed)
    while atoms:
        standing = [_standing(curve, atoms, k, fit, gradual) for k in range(len(atoms))]
        share = _share(atoms, fit, null_score)
        worth = [min(s[0], share) if a.is_event else s[0] for s, a in zip(standing, atoms, strict=True)]
        need = [KEEP.get(a.shape, KEEP_GRADUAL) for a in atoms]
        short = [s[0] - n for s, n in zip(standing, need, strict=True)]
        if share < LEAST:
            short = [s - 1e3 if a.is_event else s for s, a in zip(short, atoms, strict=True)]
        weakest = int(np.argmin(short))
        margin = [s[1] - MARGIN.get(a.shape, MARGIN_LEVEL) for s, a in zip(standing, atoms, strict=True)]
        closest = int(np.argmin(margin))
        if short[weakest] < 0:
            atoms = [a for k, a in enumerate(atoms) if k != weakest]
        elif margin[closest] < 0:
            other = standing[closest][2]
            atoms = [other if k == closest and other is not None else a for k, a in enumerate(atoms)]
        else:
            margins = tuple(s[1] for s in standing)
            return Explanation(tuple(atoms), fit, tuple(worth), margins, null_score)
        atoms, fit = _polish(curve, atoms)
    return Explanation((), fit, (), (), null_score)
