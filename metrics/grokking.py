"""Progress measures for grokking on modular addition (Nanda, Chan, Lieberum, Smith and Steinhardt 2023).

All read the logits of every pair (a, b), in a-major order, after the '=' sign; the logit of '=' itself is dropped.
Cross-entropies are in float64: losses reach 1e-7, where float32 has no digits left.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metrics.contract import metric
from metrics.fourier import (
    answer_loss,
    fourier_norms,
    gini,
    key_frequencies,
    neuron_logit_map,
    number_logits,
    sum_component,
    sum_directions,
)

PAPER = "Nanda et al. 2023, 'Progress measures for grokking via mechanistic interpretability'"
Logits = Float[Tensor, "pair pos d_vocab"]


@metric(
    title="Train loss", unit="nats", task="modular_addition", lower=0.0, per_example=False,
    source=f"{PAPER}, section 3", undefined="a logit is not finite",
)  # fmt: skip
def train_loss(logits: Logits, answer: Int[Tensor, " pair"], train: Bool[Tensor, " pair"], p: int) -> Tensor:
    """How well does the network answer the pairs it was trained on?

    **Definition.** mean cross-entropy over the training pairs.

    **Reads.** `logits` [pair pos d_vocab]; `answer` [pair], (a + b) mod p; `train` [pair]; `p`.

    **Returns** one exact number, nats, >= 0; chance is ln p. NaN where a logit is not finite.

    **Source.** Nanda et al. 2023, section 3; float64 as its text says (its code has float32).

    **Example.** p = 3 and equal logits give ln 3:

    >>> train_loss(torch.zeros(9, 1, 4), torch.zeros(9, dtype=torch.long), torch.ones(9, dtype=torch.bool), 3)
    tensor(1.0986, dtype=torch.float64)
    """
    return answer_loss(number_logits(logits, p), answer)[train].mean()


@metric(
    title="Test loss", unit="nats", task="modular_addition", lower=0.0, per_example=False,
    source=f"{PAPER}, section 3", undefined="a logit is not finite",
)  # fmt: skip
def test_loss(logits: Logits, answer: Int[Tensor, " pair"], train: Bool[Tensor, " pair"], p: int) -> Tensor:
    """How well does the network answer pairs it has never seen?

    **Definition.** mean cross-entropy over the pairs outside the training set. A pair whose mirror (b, a) is in the
    training set counts as unseen, as in the paper, though the network may know it by symmetry.

    **Reads.** `logits` [pair pos d_vocab]; `answer` [pair]; `train` [pair]; `p`.

    **Returns** one exact number, nats, >= 0; chance is ln p. NaN where a logit is not finite or no pair is unseen.

    **Source.** Nanda et al. 2023, section 3.

    **Example.** p = 3 and equal logits give ln 3:

    >>> test_loss(torch.zeros(9, 1, 4), torch.zeros(9, dtype=torch.long), torch.zeros(9, dtype=torch.bool), 3)
    tensor(1.0986, dtype=torch.float64)
    """
    return answer_loss(number_logits(logits, p), answer)[~train].mean()


@metric(
    title="Train accuracy", unit="fraction", task="modular_addition", lower=0.0, upper=1.0, per_example=False,
    source=f"{PAPER}, section 3",
)  # fmt: skip
def train_accuracy(logits: Logits, answer: Int[Tensor, " pair"], train: Bool[Tensor, " pair"], p: int) -> Tensor:
    """What share of the training pairs is answered right?

    **Definition.** share of training pairs whose largest logit is the answer's.

    **Reads.** `logits` [pair pos d_vocab]; `answer` [pair]; `train` [pair]; `p`.

    **Returns** one exact number in 0..1; chance is 1/p. NaN when there is no training pair.

    **Source.** Nanda et al. 2023, section 3.

    **Example.** Always answering 0 is right for a third of the pairs at p = 3:

    >>> logits = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(9, 1, 4)
    >>> train_accuracy(logits, torch.tensor([0, 1, 2] * 3), torch.ones(9, dtype=torch.bool), 3)
    tensor(0.3333, dtype=torch.float64)
    """
    return (number_logits(logits, p).argmax(-1) == answer)[train].double().mean()


@metric(
    title="Test accuracy", unit="fraction", task="modular_addition", lower=0.0, upper=1.0, per_example=False,
    source=f"{PAPER}, section 3", undefined="no pair is outside the training set",
)  # fmt: skip
def test_accuracy(logits: Logits, answer: Int[Tensor, " pair"], train: Bool[Tensor, " pair"], p: int) -> Tensor:
    """What share of the unseen pairs is answered right?

    **Definition.** share of pairs outside the training set whose largest logit is the answer's. Before it
    generalises, a network that has learnt a + b = b + a already scores about the training share.

    **Reads.** `logits` [pair pos d_vocab]; `answer` [pair]; `train` [pair]; `p`.

    **Returns** one exact number in 0..1; chance is 1/p. NaN when no pair is unseen.

    **Source.** Nanda et al. 2023, section 3.

    **Example.** Always answering 0 is right for a third of the pairs at p = 3:

    >>> logits = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(9, 1, 4)
    >>> test_accuracy(logits, torch.tensor([0, 1, 2] * 3), torch.zeros(9, dtype=torch.bool), 3)
    tensor(0.3333, dtype=torch.float64)
    """
    return (number_logits(logits, p).argmax(-1) == answer)[~train].double().mean()


@metric(
    title="Restricted loss", unit="nats", task="modular_addition", axes=("label",), labels=("all", "train", "test"),
    lower=0.0, per_example=False, source=f"{PAPER}, section 5.1", undefined="a logit is not finite",
)  # fmt: skip
def restricted_loss(
    logits: Logits,
    answer: Int[Tensor, " pair"],
    train: Bool[Tensor, " pair"],
    p: int,
    W_U_final: Float[Tensor, "d_model d_vocab"],
    W_out_final: Float[Tensor, "n_layers d_mlp d_model"],
) -> Float[Tensor, " label"]:
    """How good is the part of the network that generalises, on its own?

    **Definition.** The cross-entropy after keeping, of the logits over all pairs, only the components along cos and
    sin of w_k (a + b) for the key frequencies k, plus the mean logit of each number over all pairs.

    **Reads.** `logits` [pair pos d_vocab]; `answer`, `train` [pair]; `p`; `W_U_final`, `W_out_final`: the key
    frequencies are those of the last checkpoint (rule: `key_frequency`).

    **Returns** [label], nats, over all, training and unseen pairs. NaN where a logit is not finite.

    **Source.** Nanda et al. 2023, section 5.1. The paper's code averages over all pairs, its later demonstration over
    the unseen ones; all three are given.

    **Example.** See `tests/test_metric_grokking.py`: logits made of a key frequency alone keep their loss.
    """
    ours = number_logits(logits, p)
    frequencies = key_frequencies(W_U_final, W_out_final[-1], p)
    losses = answer_loss(sum_component(ours, frequencies, p) + ours.mean(0), answer)
    return torch.stack([losses.mean(), losses[train].mean(), losses[~train].mean()])


@metric(
    title="Excluded loss", unit="nats", task="modular_addition", lower=0.0, per_example=False,
    source=f"{PAPER}, section 5.1", undefined="a logit is not finite",
)  # fmt: skip
def excluded_loss(
    logits: Logits,
    answer: Int[Tensor, " pair"],
    train: Bool[Tensor, " pair"],
    p: int,
    W_U_final: Float[Tensor, "d_model d_vocab"],
    W_out_final: Float[Tensor, "n_layers d_mlp d_model"],
) -> Tensor:
    """How well does the network do on its training pairs without the part that generalises?

    **Definition.** The cross-entropy over the training pairs after removing, from the logits over all pairs, the
    components along cos and sin of w_k (a + b) for all key frequencies k together.

    **Reads.** `logits` [pair pos d_vocab]; `answer`, `train` [pair]; `p`; `W_U_final`, `W_out_final` for the key
    frequencies of the last checkpoint (rule: `key_frequency`).

    **Returns** one exact number, nats, >= 0: low while the network memorises, above ln p once it relies on the
    generalising circuit. NaN where a logit is not finite.

    **Source.** Nanda et al. 2023, section 5.1.

    **Example.** See `tests/test_metric_grokking.py`: logits made of a key frequency alone drop to ln p.
    """
    ours = number_logits(logits, p)
    frequencies = key_frequencies(W_U_final, W_out_final[-1], p)
    return answer_loss(ours - sum_component(ours, frequencies, p), answer)[train].mean()


@metric(
    title="Excluded loss by frequency", unit="nats", task="modular_addition", axes=("index",), lower=0.0,
    per_example=False, first_index=1, source=f"{PAPER}, appendix on excluded loss", undefined="a logit is not finite",
)  # fmt: skip
def excluded_loss_by_frequency(
    logits: Logits, answer: Int[Tensor, " pair"], train: Bool[Tensor, " pair"], p: int
) -> Float[Tensor, " frequency"]:
    """How much does the network rely on each frequency?

    **Definition.** `excluded_loss` with one frequency k removed at a time, for every k = 1 .. (p - 1) / 2.

    **Reads.** `logits` [pair pos d_vocab]; `answer`, `train` [pair]; `p`.

    **Returns** [frequency], nats, index k from 1. NaN where a logit is not finite.

    **Source.** Nanda et al. 2023, appendix figure of the excluded loss per key frequency; given for every frequency,
    since which are key is known only at the end.

    **Example.** See `tests/test_metric_grokking.py`: only the frequency that the logits are made of matters.
    """
    ours, target = number_logits(logits, p), answer[train]
    losses = []
    for frequency in range(1, (p - 1) // 2 + 1):
        directions = sum_directions(p, frequency).to(ours.device)
        # Only the training rows of the projection are needed; its coefficients come from all pairs.
        removed = directions[:, train].T @ (directions @ ours)
        losses.append(answer_loss(ours[train] - removed, target).mean())
    return torch.stack(losses)


@metric(
    title="Key frequency (norm of its component of W_L above a quarter of the largest, at the last checkpoint)",
    unit="indicator", task="modular_addition", axes=("index",), lower=0.0, upper=1.0, per_example=False, first_index=1,
    source=f"{PAPER}, appendix C.2",
)  # fmt: skip
def key_frequency(
    p: int,
    W_U_final: Float[Tensor, "d_model d_vocab"],
    W_out_final: Float[Tensor, "n_layers d_mlp d_model"],
) -> Float[Tensor, " frequency"]:
    """Which frequencies does the trained network compute with?

    **Definition.** 1 where the norm of the frequency's Fourier component (cosine and sine together) of the
    neuron-logit map W_L = W_out W_U, over the output numbers, is above a quarter of the largest such norm.

    **Reads.** `p`; `W_U_final`, `W_out_final` of the last checkpoint, so that the set does not move along training.

    **Returns** [frequency], 1 or 0, index k from 1; never NaN for finite weights.

    **Source.** Nanda et al. 2023, appendix C.2, which takes the "nontrivial" coefficients of W_L without a threshold;
    the quarter is ours. On the paper's run it gives the paper's {14, 35, 41, 42, 52}.

    **Example.** See `tests/test_metric_grokking.py`: weights made of frequencies 2 and 5.
    """
    key = torch.zeros((p - 1) // 2, dtype=torch.float64)
    key[[k - 1 for k in key_frequencies(W_U_final, W_out_final[-1], p)]] = 1.0
    return key


@metric(
    title="Gini of the embedding's Fourier norms", unit="coefficient", task="modular_addition", lower=0.0, upper=1.0,
    per_example=False, source=f"{PAPER}, section 5.1", undefined="the embedding is zero",
)  # fmt: skip
def gini_embedding(W_E: Float[Tensor, "d_vocab d_model"], p: int) -> Tensor:
    """How few frequencies does the embedding use?

    **Definition.** The Gini coefficient of the norms of the p Fourier components (constant included) of the
    embedding of the numbers.

    **Reads.** `W_E` [d_vocab d_model]; `p`.

    **Returns** one exact number in 0 .. 1 - 1/p: 0 when all frequencies are alike. NaN for a zero embedding.

    **Source.** Nanda et al. 2023, section 5.1, with Hurley and Rickard 2009. Whether the paper counts the constant
    component is not stated; here it does.

    **Example.** An embedding that is one component alone gives 1 - 1/p:

    >>> gini_embedding(torch.ones(6, 2), 5)
    tensor(0.8000, dtype=torch.float64)
    """
    return gini(fourier_norms(W_E[:p]))


@metric(
    title="Gini of the neuron-logit map's Fourier norms", unit="coefficient", task="modular_addition", lower=0.0,
    upper=1.0, per_example=False, source=f"{PAPER}, section 5.1", undefined="the map is zero",
)  # fmt: skip
def gini_output(
    W_U: Float[Tensor, "d_model d_vocab"], W_out: Float[Tensor, "n_layers d_mlp d_model"], p: int
) -> Tensor:
    """How few frequencies do the neurons write to the logits with?

    **Definition.** The Gini coefficient of the norms of the p Fourier components (constant included) of
    W_L = W_out W_U of the last layer, over the output numbers.

    **Reads.** `W_U` [d_model d_vocab]; `W_out` [n_layers d_mlp d_model]; `p`.

    **Returns** one exact number in 0 .. 1 - 1/p. NaN for a zero map.

    **Source.** Nanda et al. 2023, section 5.1.

    **Example.** Equal effects on every number are the constant component alone:

    >>> gini_output(torch.ones(2, 6), torch.ones(1, 3, 2), 5)
    tensor(0.8000, dtype=torch.float64)
    """
    return gini(fourier_norms(neuron_logit_map(W_U, W_out[-1], p)))
