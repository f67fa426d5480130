"""Greedy search for the shapes that a curve needs beyond a smooth null mean, then pruning of those it does not.

Noise model and null mean are chosen anew for every hypothesis, so a wandering null or a stronger power law always
competes with an event; gradual shapes compete as well, and explain without being reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamics.events.likelihood import Candidates, Curve, Fit, candidates_of, evaluate, gains, whiten
from dynamics.events.shapes import BUMP_FOOT, BUMPS, GROUPS, Atom, Dictionary, column, columns, complete
from dynamics.events.thresholds import keep

Array = NDArray[np.float64]

ADD = 12.0  # gain in score below which the search stops
KEEP_GRADUAL = 6.0
BEHIND = 15.0  # what lies further behind the best is not made up for by moving a shape to its best place
FURTHER = 20.0
# What an event must gain over the best gradual shape in its place.
MARGIN = {**dict.fromkeys(BUMPS, 4.0), "hinge": -2.0, "ramp": -0.5}
MARGIN_WIDE = 8.0
# Shapes with a place and a width must beat those with a place alone by this much.
COST = {"hinge": 0.0, "spike": 0.0}
COST_WIDTH = 2.5
PAIR_WIDTH = 0.3
WIDEST = {"ramp": 1.6, **dict.fromkeys(BUMPS, 0.9)}
LOPSIDED = 3.0
MAX_ATOMS = 6


@dataclass(frozen=True)
class Explanation:
    """What a curve was found to be made of.

    `worth[k]`: score lost without atom k; `margin[k]`: with a gradual shape in its place; `null`: the fit of no atoms.
    """

    atoms: tuple[Atom, ...]
    fit: Fit
    worth: tuple[float, ...]
    margin: tuple[float, ...]
    null: Fit


def event_columns(curve: Curve, atoms: list[Atom]) -> Array:
    """Columns of the atoms, `[n_checkpoints, n_atoms]`."""
    if not atoms:
        return np.empty((curve.size, 0))
    return np.stack([column(curve.x, a) for a in atoms], axis=1)


def totals(curve: Curve, candidates: Candidates, events: Array, fit: Fit, keep: float = np.inf) -> Array:
    """Best score of each candidate over noise models (at their best null mean), `[n_candidates]`."""
    nulls = np.argmax(fit.scores, axis=1)
    best = fit.scores[np.arange(len(nulls)), nulls]
    pairs = [(k, int(null)) for k, null in enumerate(nulls) if best[k] >= fit.score - keep]
    gain = gains(curve, candidates, events, pairs)
    return np.max(gain + best[[p[0] for p in pairs]][:, None], axis=0)


def _neighbours(atom: Atom, reach: float, x: Array) -> tuple[Array, Array]:
    """Places and widths around an atom, on a grid that shrinks with `reach`."""
    span = max(atom.width, 0.12) * 0.5 * reach
    middle = atom.middle + span * np.linspace(-1, 1, 7)
    if atom.shape in ("hinge",):
        return np.clip(atom.middle + 0.1 * reach * np.linspace(-1, 1, 9), x[1], x[-2]), np.zeros(9)
    width = np.clip(atom.width * 2.0 ** (0.6 * reach * np.linspace(-1, 1, 5)), 1e-3, None)
    if atom.is_event:
        width = np.minimum(width, WIDEST.get(atom.shape, 0.98))
    elif atom.shape == "wide":
        width = np.clip(width, 1.1, 2.5)
    else:
        width = np.full(1, atom.width)
    mm, ww = (a.ravel() for a in np.meshgrid(middle, width))
    if atom.is_event:
        ok = complete(x, mm, ww, BUMP_FOOT if atom.shape in BUMPS else 0.45)
        if not ok.any():
            return np.array([atom.middle]), np.array([atom.width])
        mm, ww = mm[ok], ww[ok]
    return mm, ww


def refine(curve: Curve, atoms: list[Atom], which: int, fit: Fit) -> Atom:
    """Move one atom to the best place and width near where it is, the others fixed."""
    atom = atoms[which]
    if atom.shape in ("spike", "edge") or atom.width <= 2e-3 and atom.shape == "logistic":
        return atom
    others = event_columns(curve, [a for k, a in enumerate(atoms) if k != which])
    shapes = BUMPS if atom.shape in BUMPS else (atom.shape,)
    for reach in (1.0, 0.4, 0.15):
        middle, width = _neighbours(atom, reach, curve.x)
        matrix = np.concatenate([columns(curve.x, shape, middle, width) for shape in shapes], axis=1)
        gain = gains(curve, candidates_of(curve, matrix, [fit.noise]), others, [(fit.noise, fit.null)])[0]
        # a lopsided bump must be worth its third number
        gain[len(middle) :] -= LOPSIDED
        best = int(np.argmax(gain))
        k = best % len(middle)
        atom = Atom(shapes[best // len(middle)], float(middle[k]), float(width[k]))
    return atom


def _leaders(total: Array, dictionary: Dictionary, base: float) -> list[int]:
    """The best candidate of each group of shapes, the three strongest groups first."""
    best = []
    for group in range(len(GROUPS)):
        member = np.flatnonzero(dictionary.group == group)
        if len(member):
            best.append(int(member[np.argmax(total[member])]))
    least = [0.6 * (ADD if dictionary.is_event[b] else KEEP_GRADUAL) for b in best]
    best = [b for b, add in zip(best, least, strict=True) if total[b] > base + add]
    first = max((float(total[b]) for b in best), default=0.0)
    return sorted((b for b in best if total[b] > first - BEHIND), key=lambda b: -total[b])[:4]


def _grow(curve: Curve, dictionary: Dictionary, candidates: Candidates, atoms: list[Atom]) -> tuple[list[Atom], Fit]:
    """Add the best shape again and again, refining those already there, until none is worth adding."""
    fit = evaluate(curve, event_columns(curve, atoms))
    while len(atoms) < MAX_ATOMS:
        total = totals(curve, candidates, event_columns(curve, atoms), fit, np.inf if not atoms else 30.0)
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
    return atoms, fit


def _pair(curve: Curve, noise: int, null: int) -> list[Atom]:
    """The best two level changes under one noise model and null mean, or nothing where there is no room for two.

    A greedy search covers a pair with one wide shape and does not find its way back.
    """
    x = curve.x
    places = np.arange(x[1], x[-2], max((x[-2] - x[1]) / 40, 0.05))
    places = places[complete(x, places, np.full(len(places), PAIR_WIDTH))]
    if len(places) < 4:
        return []
    base = curve.null[:, list(curve.null_sets[null])]
    table = np.concatenate([base, columns(x, "logistic", places, np.full(len(places), PAIR_WIDTH))], axis=1)
    white = whiten(curve, noise, curve.weigh(np.concatenate([curve.y[:, None], table], axis=1)))
    q, _ = np.linalg.qr(white[:, 1 : 1 + base.shape[1]])
    white = white - q @ (q.T @ white)
    steps = white[:, 1 + base.shape[1] :]
    gram, cross = steps.T @ steps, steps.T @ white[:, 0]
    diagonal = np.diag(gram)
    determinant = diagonal[:, None] * diagonal[None, :] - gram**2
    explained = cross[:, None] ** 2 * diagonal[None, :] + cross[None, :] ** 2 * diagonal[:, None]
    explained = explained - 2 * gram * cross[:, None] * cross[None, :]
    clear = (determinant > 0.02 * diagonal[:, None] * diagonal[None, :]) & (places[None, :] - places[:, None] > 0.3)
    worth = np.where(clear, explained / np.where(clear, determinant, 1.0), -np.inf)
    i, j = (int(v) for v in np.unravel_index(int(np.argmax(worth)), worth.shape))
    return [Atom("logistic", float(places[k]), PAIR_WIDTH) for k in (i, j)] if worth[i, j] > 0 else []


def _search(curve: Curve, dictionary: Dictionary, candidates: Candidates) -> tuple[list[Atom], Fit]:
    """The better of two searches: from nothing, and from the best pair of level changes."""
    best, pay = _grow(curve, dictionary, candidates, []), lambda found: found[1].score - ADD * len(found[0])
    first = evaluate(curve, event_columns(curve, []))
    seen: list[list[Atom]] = []
    for noise, null in {(0, 0), (0, 1), (first.noise, first.null)}:
        pair = _pair(curve, noise, null)
        if not pair or pair in seen:
            continue
        seen.append(pair)
        if evaluate(curve, event_columns(curve, pair)).score - 2 * ADD < pay(best) - BEHIND:
            continue
        atoms, fit = _polish(curve, pair)
        if fit.score - 2 * ADD > pay(best) - ADD / 2 and fit.score - first.score > 2 * ADD:
            best = max(best, _grow(curve, dictionary, candidates, atoms), key=pay)
    return best


def _standing(
    curve: Curve, atoms: list[Atom], which: int, fit: Fit, gradual: tuple[Candidates, list[Atom]]
) -> tuple[float, float, Atom | None]:
    """Score lost without atom `which`, its margin over the best gradual shape in its place, and that shape.

    The margin is infinite for shapes that need no such comparison: spikes and gradual shapes themselves.
    """
    rest = event_columns(curve, [a for k, a in enumerate(atoms) if k != which])
    without = evaluate(curve, rest)
    lost = fit.score - without.score
    if not atoms[which].is_event or atoms[which].shape == "spike" or lost < keep("level", curve.size) or not gradual[1]:
        return lost, np.inf, None
    total = totals(curve, gradual[0], rest, without, keep=40.0)
    other = gradual[1][int(np.argmax(total))]
    margin = fit.score - max(float(total.max()), without.score)
    if margin >= _margin(atoms[which]):  # the dictionary's places are coarse: give the gradual shape its best one
        instead = [*atoms[:which], *atoms[which + 1 :], other]
        other = refine(curve, instead, len(atoms) - 1, evaluate(curve, event_columns(curve, instead)))
        best = evaluate(curve, event_columns(curve, [*instead[:-1], other])).score
        margin = fit.score - max(best, float(total.max()), without.score)
    return lost, margin, other


def _polish(curve: Curve, atoms: list[Atom]) -> tuple[list[Atom], Fit]:
    """Refit after a change of the set of atoms."""
    fit = evaluate(curve, event_columns(curve, atoms))
    atoms = list(atoms)
    for k in range(len(atoms)):
        atoms[k] = refine(curve, atoms, k, fit)
    return atoms, evaluate(curve, event_columns(curve, atoms))


def _share(atoms: list[Atom], fit: Fit, null: Fit) -> float:
    """What the events are worth together over the null with its own noise, beyond `FURTHER` for each but one.

    Left out one at a time, each looks indispensable once the others have let the noise model become white.
    """
    events = sum(a.is_event for a in atoms)
    return fit.score - null.score - KEEP_GRADUAL * (len(atoms) - events) - FURTHER * max(events - 1, 0)


_PREPARED: dict[int, tuple[Dictionary, Candidates]] = {}


def _prepared(curve: Curve, dictionary: Dictionary) -> Candidates:
    """The dictionary as candidates; kept from one curve to the next of the same grid when the noise is even."""
    if curve.scale is not None:
        return candidates_of(curve, dictionary.matrix)
    known = _PREPARED.get(id(dictionary))
    if known is None or known[0] is not dictionary:
        if len(_PREPARED) >= 32:
            _PREPARED.clear()
        known = (dictionary, candidates_of(curve, dictionary.matrix))
        _PREPARED[id(dictionary)] = known
    return known[1]


def explain(curve: Curve, dictionary: Dictionary) -> Explanation:
    """Find the atoms of a curve: grow, then drop the least worthy until each is worth keeping."""
    gradual = _smooth_candidates(curve, dictionary)
    null = evaluate(curve, event_columns(curve, []))
    atoms, fit = _search(curve, dictionary, _prepared(curve, dictionary))
    return _prune(curve, atoms, fit, null, gradual)


def reread(curve: Curve, explanation: Explanation, atoms: list[Atom], dictionary: Dictionary) -> Explanation:
    """The explanation that starts from these atoms instead: each moved to its best place, the unworthy dropped."""
    atoms, fit = _polish(curve, atoms)
    return _prune(curve, atoms, fit, explanation.null, _smooth_candidates(curve, dictionary))


def _smooth_candidates(curve: Curve, dictionary: Dictionary) -> tuple[Candidates, list[Atom]]:
    candidates = _prepared(curve, dictionary)
    smooth = ~dictionary.is_event
    columns_ = Candidates(np.ascontiguousarray(candidates.matrix[:, smooth]), candidates.squares[:, smooth])
    return columns_, [a for a in dictionary.atoms if not a.is_event]


def _margin(atom: Atom) -> float:
    """Margin over gradual shapes that is asked for: more of a level change that is nearly as wide as they are."""
    return MARGIN.get(atom.shape, MARGIN_WIDE * max(atom.width - 0.7, 0.0))


def _keep(atom: Atom, size: int) -> float:
    """What an atom must be worth to stay."""
    if not atom.is_event:
        return KEEP_GRADUAL
    return keep("bump" if atom.shape in BUMPS else atom.shape if atom.shape in ("spike", "hinge") else "level", size)


def _prune(curve: Curve, atoms: list[Atom], fit: Fit, null: Fit, gradual: tuple[Candidates, list[Atom]]) -> Explanation:
    """Drop the least worthy shape, or make it gradual, until each is worth keeping."""
    while atoms:
        standing = [_standing(curve, atoms, k, fit, gradual) for k in range(len(atoms))]
        share = _share(atoms, fit, null)
        worth = [min(s[0], share) if a.is_event else s[0] for s, a in zip(standing, atoms, strict=True)]
        need = [_keep(a, curve.size) for a in atoms]
        short = [s[0] - n for s, n in zip(standing, need, strict=True)]
        if share < keep("level", curve.size):
            short = [s - 1e3 if a.is_event else s for s, a in zip(short, atoms, strict=True)]
        weakest = int(np.argmin(short))
        margin = [s[1] - _margin(a) for s, a in zip(standing, atoms, strict=True)]
        closest = int(np.argmin(margin))
        if short[weakest] < 0:
            atoms = [a for k, a in enumerate(atoms) if k != weakest]
        elif margin[closest] < 0:
            other = standing[closest][2]
            atoms = [other if k == closest and other is not None else a for k, a in enumerate(atoms)]
        else:
            margins = tuple(s[1] for s in standing)
            return Explanation(tuple(atoms), fit, tuple(worth), margins, null)
        atoms, fit = _polish(curve, atoms)
    return Explanation((), fit, (), (), null)
