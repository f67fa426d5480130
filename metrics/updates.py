"""What a stretch of training did to the weights: how far they moved since the checkpoint before, and which way.

Checkpoints lie unevenly, so that each norm is given for one step of the stretch. Dividing by their number takes the
steps to point the same way; steps that wander go sqrt(steps) far, so that a curve of these numbers falls where gaps
widen. `update_cosine` tells the two apart.
"""

from __future__ import annotations

import torch  # noqa: F401  (the examples read it)

from metrics.contract import metric
from metrics.reductions import Scalar, Weights, by_module, distance, inner, norm, share

ByParameter = dict[str, Scalar]
NONE_BEFORE = "there is no checkpoint before, or its steps were counted from another start"
PER_STEP = "Nagarajan and Kolter 2019, distance in weight space, of the stretch between two checkpoints"


@metric(
    title="Update of each parameter", unit="weight per step", axes=("label",), lower=0.0, source=PER_STEP,
    undefined=NONE_BEFORE,
)  # fmt: skip
def update_norm(weights: Weights, weights_previous: Weights, steps_between: float) -> ByParameter:
    """How far did each parameter move, for one step of the stretch since the checkpoint before?

    **Definition.** ||W - W_previous|| / steps, Frobenius norms, steps the optimizer steps between the two.

    **Reads.** `weights`; `weights_previous` of the checkpoint before, the last before this one that can be read;
    `steps_between` the two.

    **Returns** name -> number >= 0; 0 for a parameter that did not move. NaN at the first checkpoint, and where steps
    restart between the two.

    **Source.** Nagarajan and Kolter 2019 have the distance from initialisation. Departure: from the checkpoint before,
    by parameter, for one step.

    **Example.** 5 in ten steps:

    >>> update_norm({"W": torch.tensor([3.0, 4.0])}, {"W": torch.zeros(2)}, 10)
    {'W': tensor(0.5000, dtype=torch.float64)}
    """
    return {name: distance(weights[name], before) / steps_between for name, before in weights_previous.items()}


@metric(
    title="Relative update of each parameter", unit="fraction per step", axes=("label",), lower=0.0, source=PER_STEP,
    undefined=f"{NONE_BEFORE}, or a parameter was zero there",
)  # fmt: skip
def relative_update_norm(weights: Weights, weights_previous: Weights, steps_between: float) -> ByParameter:
    """By what share of its size did each parameter move, for one step of the stretch since the checkpoint before?

    **Definition.** ||W - W_previous|| / (||W_previous|| steps), Frobenius norms.

    **Reads.** As `update_norm`.

    **Returns** name -> number >= 0; 0 for a parameter that did not move. NaN at the first checkpoint, for a parameter
    that was zero at the one before, and where steps restart.

    **Source.** As `update_norm`. Departure: relative to the norm before, which weight decay and growth change.

    **Example.** From 5 to twice as much in ten steps:

    >>> relative_update_norm({"W": torch.tensor([6.0, 8.0])}, {"W": torch.tensor([3.0, 4.0])}, 10)
    {'W': tensor(0.1000, dtype=torch.float64)}
    """
    return {
        name: share(distance(weights[name], before), norm(before)) / steps_between
        for name, before in weights_previous.items()
    }


@metric(
    title="Update of each parameter per learning rate", unit="weight", axes=("label",), lower=0.0, source=PER_STEP,
    undefined=f"{NONE_BEFORE}, or the training log does not tell the learning rate of every step between",
)  # fmt: skip
def update_norm_per_learning_rate(
    weights: Weights, weights_previous: Weights, learning_rate_between: float
) -> ByParameter:
    """How far did each parameter move, for what the learning rate would have let it?

    **Definition.** ||W - W_previous|| / sum of the learning rates of the steps between.

    **Reads.** `weights`, `weights_previous`; `learning_rate_between`, the learning rates summed by the training log,
    which is read along a straight line where it skips steps.

    **Returns** name -> number >= 0. Under Adam a parameter of n entries that all move the same way at every step has
    about sqrt(n). NaN at the first checkpoint and where no log tells the learning rate of every step.

    **Source.** As `update_norm`; so a warm-up or a decay is not taken for a change in the loss landscape.

    **Example.** 5 over steps whose learning rates sum to 0.1:

    >>> update_norm_per_learning_rate({"W": torch.tensor([3.0, 4.0])}, {"W": torch.zeros(2)}, 0.1)
    {'W': tensor(50., dtype=torch.float64)}
    """
    return {name: distance(weights[name], before) / learning_rate_between for name, before in weights_previous.items()}


@metric(
    title="Update of each module", unit="weight per step", axes=("label",), lower=0.0, source=PER_STEP,
    undefined=NONE_BEFORE,
)  # fmt: skip
def module_update_norm(weights: Weights, weights_previous: Weights, steps_between: float) -> ByParameter:
    """How far did each module move, for one step of the stretch since the checkpoint before?

    **Definition.** `update_norm` over all parameters of a module: the attention, MLP or norm of one layer, or what is
    outside the layers (`module_norm`).

    **Reads.** As `update_norm`.

    **Returns** module -> number >= 0. NaN as `update_norm`.

    **Source.** As `update_norm`.

    **Example.** 3 and 4 in one step:

    >>> here = {"layers.0.mlp.up": torch.tensor([3.0]), "layers.0.mlp.down": torch.tensor([4.0])}
    >>> module_update_norm(here, {name: torch.zeros(1) for name in here}, 1)
    {'layers.0.mlp': tensor(5., dtype=torch.float64)}
    """
    return by_module(update_norm(weights, weights_previous, steps_between))


@metric(
    title="Relative update of each module", unit="fraction per step", axes=("label",), lower=0.0, source=PER_STEP,
    undefined=f"{NONE_BEFORE}, or a module was zero there",
)  # fmt: skip
def relative_module_update_norm(weights: Weights, weights_previous: Weights, steps_between: float) -> ByParameter:
    """By what share of its size did each module move, for one step of the stretch since the checkpoint before?

    **Definition.** `module_update_norm` over the module's norm at the checkpoint before.

    **Reads.** As `update_norm`.

    **Returns** module -> number >= 0. NaN as `relative_update_norm`.

    **Source.** As `update_norm`.

    **Example.** From 5 to twice as much in ten steps:

    >>> here, before = {"layers.0.mlp.up": torch.tensor([6.0, 8.0])}, {"layers.0.mlp.up": torch.tensor([3.0, 4.0])}
    >>> relative_module_update_norm(here, before, 10)
    {'layers.0.mlp': tensor(0.1000, dtype=torch.float64)}
    """
    moved = by_module(update_norm(weights, weights_previous, steps_between))
    sizes = by_module({name: norm(before) for name, before in weights_previous.items()})
    return {module: share(moved[module], size) for module, size in sizes.items()}


@metric(
    title="Cosine of successive updates", unit="cosine", axes=("label",), lower=-1.0, upper=1.0,
    source="cosine similarity of one stretch's change of the weights with that of the stretch before",
    undefined="there are not two checkpoints before, or a parameter did not move in one of the two stretches",
)  # fmt: skip
def update_cosine(
    weights: Weights, weights_previous: Weights, weights_previous_previous: Weights
) -> ByParameter:
    """Does each parameter go on in the direction in which it went before?

    **Definition.** <U, U_previous> / (||U|| ||U_previous||) with U = W - W_previous and U_previous = W_previous -
    W_previous_previous.

    **Reads.** `weights`, and those of the two checkpoints before.

    **Returns** name -> -1..1: 1 for a straight way, about 0 +- 1/sqrt(n) for n entries where steps wander, -1 where
    one stretch undoes the other. It does not see lengths, so uneven gaps need no correction, but longer stretches
    average more noise away. NaN at the first two checkpoints and for a parameter that did not move.

    **Source.** The usual cosine similarity.

    **Example.** Three to the right, then as far up and on to the right:

    >>> there, then, here = torch.tensor([0.0, 0.0]), torch.tensor([3.0, 0.0]), torch.tensor([6.0, 3.0])
    >>> update_cosine({"W": here}, {"W": then}, {"W": there})
    {'W': tensor(0.7071, dtype=torch.float64)}
    """
    found = {}
    for name, then in weights_previous.items():
        here, there = weights[name], weights_previous_previous[name]
        found[name] = inner((here, then), (then, there)) / (distance(here, then) * distance(then, there))
    return found
