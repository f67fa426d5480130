"""Hidden progress on sparse parity (Barak et al. 2022): what moves while the accuracy stands at chance."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metrics.contract import metric

PAPER = "Barak et al. 2022, 'Hidden Progress in Deep Learning: SGD Learns Parities Near the Computational Limit'"


@metric(
    title="Parity accuracy", unit="fraction", task="sparse_parity", lower=0.0, upper=1.0, source=PAPER,
    undefined="an output is not finite",
)  # fmt: skip
def parity_accuracy(
    outputs: Float[Tensor, "example 1"], answer: Float[Tensor, " example"]
) -> Float[Tensor, " example"]:
    """How often does the network's sign agree with the parity?

    **Definition.** 1 where the output has the sign of the answer, 0 where it has the other, 1/2 for an output of 0.

    **Reads.** `outputs` [example 1]; `answer` [example], +1 or -1.

    **Returns** one value per example, 0..1; chance is 1/2. NaN where an output is not finite.

    **Source.** Barak et al. 2022.

    **Example.**

    >>> parity_accuracy(torch.tensor([[2.0], [-1.0], [0.0]]), torch.tensor([1.0, 1.0, -1.0]))
    tensor([1.0000, 0.0000, 0.5000])
    """
    right = (1 + outputs.squeeze(1).sign() * answer) / 2
    return right.where(outputs.squeeze(1).isfinite(), torch.nan)  # the sign of NaN is 0


@metric(
    title="Hinge loss", unit="hinge", task="sparse_parity", lower=0.0, source=PAPER,
    undefined="an output is not finite",
)  # fmt: skip
def hinge_loss(outputs: Float[Tensor, "example 1"], answer: Float[Tensor, " example"]) -> Float[Tensor, " example"]:
    """How far is the network from a margin of one?

    **Definition.** max(0, 1 - y f(x)).

    **Reads.** `outputs` [example 1]; `answer` [example], +1 or -1.

    **Returns** one value per example, >= 0; 1 for an output of 0. NaN where an output is not finite.

    **Source.** Barak et al. 2022.

    **Example.**

    >>> hinge_loss(torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([1.0, 1.0, 1.0]))
    tensor([0.0000, 2.0000, 0.5000])
    """
    finite = torch.where(outputs.isfinite(), outputs, torch.nan).squeeze(1)
    return (1 - finite * answer).clamp(min=0)


@metric(
    title="Weight of the relevant bits over that of the others", unit="ratio", task="sparse_parity", lower=0.0,
    per_example=False, source=PAPER, undefined="the irrelevant bits have no weight, or all bits are relevant",
)  # fmt: skip
def relevant_weight_ratio(
    W_in: Float[Tensor, "n_layers d_model d_mlp"], relevant: Bool[Tensor, " bit"]
) -> Tensor:
    """Does the first layer already know which bits count?

    **Definition.** The mean of |w| over the weights of the relevant bits, divided by that over the others' weights.

    **Reads.** `W_in` [n_layers d_model d_mlp], of which the first layer; `relevant` [bit].

    **Returns** one exact number, >= 0; about 1 at the start. NaN when the irrelevant bits have no weight.

    **Source.** Barak et al. 2022, who follow the weights of relevant and irrelevant coordinates apart; this ratio of
    means is ours.

    **Example.** Weights of 3 at the relevant bit and of 1 and -2 at the others:

    >>> relevant_weight_ratio(torch.tensor([[[3.0], [1.0], [-2.0]]]), torch.tensor([True, False, False]))
    tensor(2., dtype=torch.float64)
    """
    sizes = W_in[0].double().abs()
    others = sizes[~relevant].mean()
    return sizes[relevant].mean() / others.where(others > 0, torch.nan)


@metric(
    title="Fourier coefficient at the parity", unit="correlation", task="sparse_parity", source=PAPER,
    undefined="an output is not finite",
)  # fmt: skip
def parity_coefficient(
    outputs: Float[Tensor, "example 1"], answer: Float[Tensor, " example"]
) -> Float[Tensor, " example"]:
    """How much of the parity is in the network's output, whatever else is?

    **Definition.** f(x) chi_S(x), whose mean over uniform x is the Fourier coefficient of f at the relevant set S.

    **Reads.** `outputs` [example 1]; `answer` [example], which is chi_S.

    **Returns** one value per example; the mean is 0 for a network that has not begun and c for f = c chi_S. NaN where
    an output is not finite.

    **Source.** Barak et al. 2022; here estimated on the task's examples, with a standard error.

    **Example.**

    >>> parity_coefficient(torch.tensor([[2.0], [-1.0]]), torch.tensor([1.0, -1.0]))
    tensor([2., 1.])
    """
    return outputs.squeeze(1) * answer


@metric(
    title="Largest weight of the relevant bits and of the others", unit="weight", task="sparse_parity", axes=("label",),
    labels=("relevant", "irrelevant"), lower=0.0, per_example=False, source=PAPER,
    undefined="no bit is relevant (or irrelevant)",
)  # fmt: skip
def largest_weight(
    W_in: Float[Tensor, "n_layers d_model d_mlp"], relevant: Bool[Tensor, " bit"]
) -> Float[Tensor, " label"]:
    """How large has the largest weight of the relevant bits become, and that of the others?

    **Definition.** max |w| over the weights of the relevant bits, and over those of the others.

    **Reads.** `W_in` [n_layers d_model d_mlp], of which the first layer; `relevant` [bit].

    **Returns** [label], >= 0. NaN where there is no such bit.

    **Source.** Barak et al. 2022 follow |w_t - w_0|_inf; this is the largest weight itself, so that it needs no first
    checkpoint, and it is the noisier of the two measures of hidden progress here.

    **Example.**

    >>> largest_weight(torch.tensor([[[3.0], [1.0], [-2.0]]]), torch.tensor([True, False, False]))
    tensor([3., 2.], dtype=torch.float64)
    """
    sizes = W_in[0].double().abs()
    parts = [sizes[relevant], sizes[~relevant]]
    return torch.stack([part.max() if part.numel() else sizes.new_tensor(torch.nan) for part in parts])
