"""What a shape must be worth: gains in twice the log-likelihood, which grow with the number of checkpoints.

The more checkpoints, the more places a wandering curve has at which to look like an event; a history of 24 has few.
"""

from __future__ import annotations

import numpy as np

# Worth that a reported event must have on a history of `FEW` checkpoints, and what each e-fold of them adds. A
# wandering null looks like a bump more often than like a step.
FEW, MANY = 24, 240
NEED = {"transition": 17.5, "bump": 27.5, "plateau": 15.0, "kink": 17.0, "spike": 19.0}
GROWTH = {"transition": 5.5, "bump": 1.5, "plateau": 3.0, "kink": 2.0, "spike": 5.0}
# What a shape must be worth to stay in the explanation, whether or not it is then reported.
KEEP = {"bump": 20.0, "spike": 18.0, "hinge": 15.0, "level": 15.0}
KEEP_GROWTH = 1.5
CORNER_BESIDE = 6.0  # more of a corner beside other events: it is what their shapes leave over as often as not
UNMEASURED = 2.0  # more of a curve without standard errors: nothing says how much of its wander is noise
SHORT_SIDE, CORNER_AT_END = 0.35, 8.0  # more of a corner with less than this many decades on one side of it
UNLEVELLED = 6.0  # more of a level change that begins before the first checkpoint or ends after the last
CROWDED = 3.0  # more of a level change for each event of the curve beyond two: a walk is many small ones
BEND_NEED = 32.0  # a curve bends more often than it sets in from a flat stretch


def _folds(size: int) -> float:
    return float(np.log(np.clip(size, FEW, MANY) / FEW))


def need(kind: str, size: int) -> float:
    """Worth that an event of this kind must have to be reported, on a history of `size` checkpoints."""
    return NEED[kind] + GROWTH[kind] * _folds(size)


def keep(group: str, size: int) -> float:
    """Worth that a shape of this group must have to stay in the explanation."""
    return KEEP[group] + KEEP_GROWTH * _folds(size)


# Share of simulated curves without events in which something is found that is worth what its kind needs, on a history
# of `FEW` checkpoints, and the decay of that share with every further unit of score. Curves that wandering noise
# explains better than independent noise look like an event more often: less so the more checkpoints they have, whose
# needs are larger, but then what is found exceeds them by more. docs/events.md says how this was counted.
FALSE_QUIET, FALSE_WANDERING = 0.003, 0.117
FALSE_THINNING, FALSE_DECAY, FALSE_SLOWING = 1.1, 0.4, 1.2


def p_value(beyond: float, size: int, *, wanders: bool) -> float:
    """Chance that a curve without events yields something worth this much beyond what its kind needs.

    `wanders`: whether its best explanation without events has noise that neighbouring checkpoints share.
    """
    folds = _folds(size)
    share = FALSE_WANDERING * np.exp(-FALSE_THINNING * folds) if wanders else FALSE_QUIET
    return float(min(1.0, share * np.exp(-FALSE_DECAY / (1 + FALSE_SLOWING * folds) * beyond)))
