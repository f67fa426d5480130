"""What a network knows of unseen pairs by symmetry alone: a + b = b + a. The published test measures mix the two."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metrics.contract import metric
from metrics.fourier import answer_loss, number_logits

LABELS = ("mirror_trained", "mirror_unseen")
NONE = "no unseen pair has (or lacks) its mirror in the training set"
SOURCE = "ours; splits the test measures of Nanda et al. 2023, section 3"
Logits = Float[Tensor, "pair pos d_vocab"]


@metric(
    title="Test loss by whether the mirrored pair was trained on", unit="nats", task="modular_addition",
    axes=("label",), labels=LABELS, lower=0.0, per_example=False, source=SOURCE, undefined=NONE,
)  # fmt: skip
def loss_by_symmetry(
    logits: Logits, answer: Int[Tensor, " pair"], train: Bool[Tensor, " pair"], p: int
) -> Float[Tensor, " label"]:
    """Does the network generalise, or does it know only that a + b = b + a?

    **Definition.** The mean cross-entropy over the unseen pairs (a, b) whose mirror (b, a) is in the training set,
    and over those whose mirror is not. Only the second is free of that symmetry.

    **Reads.** `logits` [pair pos d_vocab], pairs a-major; `answer`, `train` [pair]; `p`.

    **Returns** [label], nats, >= 0; chance is ln p. NaN where there is no such pair. For a task that does not
    commute the first is no easier than the second.

    **Source.** Ours: the published test loss is the mean of both, weighted by their number of pairs.

    **Example.** Only (0, 1) of p = 3 trained on: of 8 unseen pairs (1, 0) has a trained mirror; equal logits: ln 3.

    >>> train = torch.arange(9) == 1
    >>> loss_by_symmetry(torch.zeros(9, 1, 4), torch.zeros(9, dtype=torch.long), train, 3)
    tensor([1.0986, 1.0986], dtype=torch.float64)
    """
    losses = answer_loss(number_logits(logits, p), answer)
    return torch.stack([losses[chosen].mean() for chosen in _split(train, p)])


@metric(
    title="Test accuracy by whether the mirrored pair was trained on", unit="fraction", task="modular_addition",
    axes=("label",), labels=LABELS, lower=0.0, upper=1.0, per_example=False, source=SOURCE, undefined=NONE,
)  # fmt: skip
def accuracy_by_symmetry(
    logits: Logits, answer: Int[Tensor, " pair"], train: Bool[Tensor, " pair"], p: int
) -> Float[Tensor, " label"]:
    """What share of the unseen pairs is right, with and without help from a + b = b + a?

    **Definition.** The share of unseen pairs whose largest logit is the answer's: of those whose mirror is in the
    training set, and of the others.

    **Reads.** `logits` [pair pos d_vocab], pairs a-major; `answer`, `train` [pair]; `p`.

    **Returns** [label], 0..1; chance is 1/p. NaN where there is no such pair.

    **Source.** Ours. A network that has memorised and learnt the symmetry has 1 and 0, so that the published test
    accuracy stands at about the training share long before it generalises.

    **Example.** Always answering 0 where every answer is 0:

    >>> train = torch.arange(9) == 1
    >>> logits = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(9, 1, 4)
    >>> accuracy_by_symmetry(logits, torch.zeros(9, dtype=torch.long), train, 3)
    tensor([1., 1.], dtype=torch.float64)
    """
    right = (number_logits(logits, p).argmax(-1) == answer).double()
    return torch.stack([right[chosen].mean() for chosen in _split(train, p)])


def _split(train: Bool[Tensor, " pair"], p: int) -> tuple[Bool[Tensor, " pair"], Bool[Tensor, " pair"]]:
    mirrored = train.unflatten(0, (p, p)).T.flatten()
    return ~train & mirrored, ~train & ~mirrored
