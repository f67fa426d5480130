"""Second readings: other shapes that explain a curve about as well and say something else about it.

A search takes what gains most, one shape at a time. A wide ramp may be a steady change between two corners, a level
change that never levels off a steady change that sets in, a bump one change of level beside a trend, or two.
"""

from __future__ import annotations

import numpy as np

from dynamics.events.kinds import LEVEL, half_width, name_of
from dynamics.events.likelihood import Curve, candidates_of, evaluate
from dynamics.events.search import Explanation, event_columns, explain, reread, totals
from dynamics.events.shapes import BUMPS, Atom, Dictionary, columns, dictionary

WIDE_SUPPORT = 16  # from this many checkpoints on, a level change needs three on each side instead of two
CORNER_MARGIN = 20.0  # a ramp this much better than gradual shapes is no smooth change, however wide
WIDE_BUMP, PAIR_COST, SIDE_WIDTH = 0.55, 5.0, 0.3
FAR = 20.0  # what a side's best place and width may gain over where it is first put
BOTH_SIDES = 12.0  # a bump shows its way up and its way back: it explains more by this than either of them alone
# A corner has one number fewer than a level change, and a saturating curve; it must be no worse than this allows,
# which is more the wider the change is, of which no level is to be seen on one side.
LEVELLED, CORNER_COST, SMOOTH_COST = 0.25, 10.0, 2.0
SPACING, COARSE = 0.05, 8.0  # places tried first, and what moving to the best place may still gain


def understand(curve: Curve) -> Explanation:
    """What a curve is made of: the search's explanation, read again."""
    shapes = dictionary(curve.x, 3 if curve.size >= WIDE_SUPPORT else 2)
    return read_again(curve, explain(curve, shapes), shapes)


def read_again(curve: Curve, explanation: Explanation, shapes: Dictionary) -> Explanation:
    """The explanation with every shape read as what it more plausibly is."""
    for k, atom in enumerate(explanation.atoms):
        if _is_smooth_stretch(curve, explanation, k):
            return read_again(curve, _with_corners(curve, explanation, k, shapes), shapes)
        if atom.shape in BUMPS:
            other = _as_side(curve, explanation, k, shapes) or _as_pair(curve, explanation, k, shapes)
            if other is not None:
                return read_again(curve, other, shapes)
    for k in range(len(explanation.atoms)):
        other = _as_onset(curve, explanation, k, shapes)
        if other is not None:
            return other
    return explanation


def _is_smooth_stretch(curve: Curve, explanation: Explanation, which: int) -> bool:
    clear = explanation.margin[which] >= CORNER_MARGIN and name_of(curve, explanation, which) == "gradual"
    return explanation.atoms[which].shape == "ramp" and clear


def _instead(explanation: Explanation, which: int, new: list[Atom]) -> list[Atom]:
    return [*explanation.atoms[:which], *new, *explanation.atoms[which + 1 :]]


def _with_corners(curve: Curve, explanation: Explanation, which: int, shapes: Dictionary) -> Explanation:
    """A wide ramp taken for what it is: a steady change that sets in and later stops."""
    ramp = explanation.atoms[which]
    corners = [Atom("hinge", ramp.middle + side * ramp.width / 2, 0.0) for side in (-1, 1)]
    inside = [c for c in corners if curve.x[1] < c.middle < curve.x[-2]]
    return reread(curve, explanation, _instead(explanation, which, inside), shapes)


def _sides(curve: Curve, bump: Atom) -> list[Atom]:
    """The way up and the way back of a bump as level changes, those that have checkpoints on both sides."""
    places = [bump.middle + side * bump.width / 2 for side in (-1, 1)]
    return [Atom("logistic", p, SIDE_WIDTH) for p in places if curve.x[1] < p < curve.x[-2]]


def _as_side(curve: Curve, explanation: Explanation, which: int, shapes: Dictionary) -> Explanation | None:
    """A bump as one change of level, which the trend makes look like two; None where that explains clearly less."""
    enough = explanation.fit.score - BOTH_SIDES
    tried = [_instead(explanation, which, [side]) for side in _sides(curve, explanation.atoms[which])]
    near = [t for t in tried if evaluate(curve, event_columns(curve, t)).score >= enough - FAR]
    others = [reread(curve, explanation, atoms, shapes) for atoms in near]
    best = max(others, key=lambda other: other.fit.score, default=None)
    return best if best is not None and best.fit.score >= enough else None


def _as_pair(curve: Curve, explanation: Explanation, which: int, shapes: Dictionary) -> Explanation | None:
    """A wide bump as a level change up and one back; None where that is not worth its further numbers."""
    sides = _sides(curve, explanation.atoms[which])
    if explanation.atoms[which].width < WIDE_BUMP or len(sides) < 2:
        return None
    other = reread(curve, explanation, _instead(explanation, which, sides), shapes)
    kept = len(other.atoms) > len(explanation.atoms)
    return other if kept and other.fit.score > explanation.fit.score + PAIR_COST else None


def _as_onset(curve: Curve, explanation: Explanation, which: int, shapes: Dictionary) -> Explanation | None:
    """A lone change that goes on to an end of the curve as one corner; None where that is no better reading."""
    atom, rest = explanation.atoms[which], [a for k, a in enumerate(explanation.atoms) if k != which]
    if any(a.is_event and a.shape != "spike" for a in rest) or atom.shape == "edge":
        return None
    if atom.shape in LEVEL:
        half = half_width(atom)
        if curve.x[0] + LEVELLED < atom.middle - half and atom.middle + half < curve.x[-1] - LEVELLED:
            return None
        cost = CORNER_COST * 2 * half
    elif atom.is_event:
        return None
    else:
        cost = SMOOTH_COST
    places = np.arange(curve.x[2], curve.x[-3], SPACING)
    if not len(places):
        return None
    table = event_columns(curve, rest)
    corners = candidates_of(curve, columns(curve.x, "hinge", places, np.zeros(len(places))))
    total = totals(curve, corners, table, evaluate(curve, table))
    best = int(np.argmax(total))
    if total[best] < explanation.fit.score - cost - COARSE:
        return None
    hinge = Atom("hinge", float(places[best]), 0.0)
    other = reread(curve, explanation, [*rest, hinge], shapes)
    kept = any(a.shape == "hinge" and abs(a.middle - hinge.middle) < 0.3 for a in other.atoms)
    models = curve.noise.models  # a corner that needs the noise to wander more explains less
    quiet = models[other.fit.noise].log_det <= models[explanation.fit.noise].log_det
    return other if kept and quiet and other.fit.score >= explanation.fit.score - cost else None
