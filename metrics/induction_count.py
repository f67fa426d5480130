"""Induction heads of the whole model: how many there are, and how strong the strongest is (Olsson et al. 2022)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric

THRESHOLD = 0.3  # ten times the score of uniform attention
ByHead = Float[Tensor, "batch layer head"]


@metric(
    title="Induction heads", unit="heads", task="repeated_tokens", lower=0.0, per_example=False,
    source="heads above 0.3, as in replications of Olsson et al. 2022 on Pythia",
    undefined="no token of the sequence is a repeat",
)  # fmt: skip
def induction_heads(prefix_matching: ByHead) -> Float[Tensor, ""]:
    """How many induction heads does the model have?

    **Definition.** The number of heads whose `prefix_matching`, averaged over the examples, is above 0.3.

    **Reads.** `prefix_matching` of every head on every example.

    **Returns** one number, 0 to the number of heads. Uniform attention scores 0.031 and so gives 0, as do random
    weights, a one-layer model and shuffled tokens; a head at a fixed offset scores the share of blocks of that length,
    about 1/17 with the default lengths of 17 to 33. NaN where prefix matching is.

    **Source.** Olsson et al. 2022 colour heads by their score and set no threshold. Departure: 0.3, at which
    replications on Pythia call a head an induction head. A count jumps when a score glides past its threshold: read
    `strongest_induction_head` beside it.

    **Example.** Two of three heads:

    >>> induction_heads(torch.tensor([[[0.1, 0.5, 0.25]], [[0.1, 0.7, 0.45]]]))
    tensor(2.)
    """
    scores = prefix_matching.mean(0)
    return torch.where(scores.isnan().any(), float("nan"), (scores > THRESHOLD).sum().float())


@metric(
    title="Strongest induction head", unit="probability", task="repeated_tokens", lower=0.0, upper=1.0,
    source="Olsson et al. 2022, 'In-context Learning and Induction Heads', prefix matching of the best head",
    undefined="no token of the sequence is a repeat",
)  # fmt: skip
def strongest_induction_head(prefix_matching: ByHead) -> Float[Tensor, " batch"]:
    """How well does the best head of the model match prefixes?

    **Definition.** `prefix_matching` of the head whose average over the examples is the largest, at each checkpoint.

    **Reads.** `prefix_matching` of every head on every example.

    **Returns** [batch], a probability. With equal heads at chance, 0.031, the largest of H of them lies about
    sqrt(2 ln H) standard errors above it. NaN where prefix matching is.

    **Source.** Olsson et al. 2022 show the best heads of each model. The standard error is that of the head chosen,
    with nothing added for the choice.

    **Example.** The second of two heads:

    >>> strongest_induction_head(torch.tensor([[[0.1, 0.5]], [[0.1, 0.7]]]))
    tensor([0.5000, 0.7000])
    """
    by_head = prefix_matching.flatten(1)
    return by_head[:, by_head.mean(0).argmax()]
