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
    title="Largest weight", unit="weight", task="sparse_parity", axes=("label",),
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


@metric(
    title="Largest change of a weight", unit="weight", task="sparse_parity",
    axes=("label",), labels=("relevant", "irrelevant"), lower=0.0, per_example=False, source=PAPER,
    undefined="no bit is relevant (or irrelevant)",
)  # fmt: skip
def largest_change(
    W_in: Float[Tensor, "n_layers d_model d_mlp"], W_in_first: Float[Tensor, "n_layers d_model d_mlp"],
    relevant: Bool[Tensor, " bit"],
) -> Float[Tensor, " label"]:  # fmt: skip
    """How far has the weight that moved most come from where it began, of the relevant bits and of the others?

    **Definition.** |w_t - w_0|_inf over the weights of the relevant bits, and over those of the others.

    **Reads.** `W_in` [n_layers d_model d_mlp], of which the first layer; `W_in_first`, the same at the first
    checkpoint; `relevant` [bit].

    **Returns** [label], >= 0; 0 at the first checkpoint. NaN where there is no such bit.

    **Source.** Barak et al. 2022, whose measure of hidden progress takes all weights together: then the noise of the
    irrelevant ones hides the beginning, so the two are apart here.

    **Example.** One weight of the relevant bit has moved by 2, one of the others by 1:

    >>> first = torch.zeros(1, 3, 1)
    >>> largest_change(torch.tensor([[[2.0], [-1.0], [0.5]]]), first, torch.tensor([True, False, False]))
    tensor([2., 1.], dtype=torch.float64)
    """
    moved = (W_in[0].double() - W_in_first[0].double()).abs()
    parts = [moved[relevant], moved[~relevant]]
    return torch.stack([part.max() if part.numel() else moved.new_tensor(torch.nan) for part in parts])


@metric(
    title="Relevant bits have the larger weights", unit="fraction of pairs", task="sparse_parity", lower=0.0,
    upper=1.0, per_example=False, source=f"ours, after {PAPER}", undefined="no bit is relevant, or all are",
)  # fmt: skip
def relevant_bits_first(W_in: Float[Tensor, "n_layers d_model d_mlp"], relevant: Bool[Tensor, " bit"]) -> Tensor:
    """Could one tell the relevant bits by the size of their weights?

    **Definition.** Of all pairs of a relevant and an irrelevant bit, the share in which the weights of the relevant
    one have the larger norm over the neurons; a tie counts half. (The area under the curve of telling them so.)

    **Reads.** `W_in` [n_layers d_model d_mlp], of which the first layer; `relevant` [bit].

    **Returns** one exact number in 0..1: about 1/2 for weights that know nothing, 1 once every relevant bit stands
    out, however little. NaN where no bit is relevant, or all are.

    **Source.** Ours: `relevant_weight_ratio` moves little while the bits come to stand out and much when the accuracy
    rises, so that its change is dated with the accuracy's; this is over when they do.

    **Example.** The relevant bit is larger than one of two:

    >>> relevant_bits_first(torch.tensor([[[2.0], [1.0], [-3.0]]]), torch.tensor([True, False, False]))
    tensor(0.5000, dtype=torch.float64)
    """
    sizes = W_in[0].double().norm(dim=1)
    larger = (sizes[relevant][:, None] - sizes[~relevant]).sign()
    return ((1 + larger) / 2).mean()  # of no pairs this is NaN


@metric(
    title="Fourier gap of the output at the parity", unit="correlation", task="sparse_parity", per_example=False,
    source=f"{PAPER}, definition of the Fourier gap",
    undefined="an output is not finite; no bit is relevant, or all are",
)  # fmt: skip
def fourier_gap(
    inputs: Float[Tensor, "example bit"], outputs: Float[Tensor, "example 1"], answer: Float[Tensor, " example"],
    relevant: Bool[Tensor, " bit"],
) -> Tensor:  # fmt: skip
    """Do the parities of all but one relevant bit stand out in the output, so that the gradient can find the last?

    **Definition.** min |f^(S - i)| over the relevant bits i, less max |f^(S + j)| over the others j, with f^(T) the
    mean of f(x) chi_T(x) and S the relevant bits.

    **Reads.** `inputs` [example bit], +1 or -1; `outputs` [example 1]; `answer` [example], which is chi_S;
    `relevant` [bit].

    **Returns** one number. For a network that knows nothing it is below 0 by about what the largest of the others'
    estimates reaches by chance, 2 to 3 times 1/sqrt(examples); for f = c chi_S it is that too: a gap opens on the way
    and closes. NaN where an output is not finite, no bit is relevant, or all are.

    **Source.** Barak et al. 2022, who state it of the population gradient of a neuron (of the indicator that it is
    active). At the sizes of the recipes here that gap is lost in the noise of some thousand examples, so this is the
    gap of the network's own output.

    **Example.** f = x_1, S = {1, 2}: f^(S - 2) = 1, f^(S - 1) = 0, f^(S + 3) = 0.

    >>> signs = torch.cartesian_prod(*3 * [torch.tensor([1.0, -1.0])])
    >>> fourier_gap(signs, signs[:, :1], signs[:, 0] * signs[:, 1], torch.tensor([True, True, False]))
    tensor(0., dtype=torch.float64)
    """
    weighted = (outputs.squeeze(1) * answer).double()
    found = (weighted @ inputs.double() / len(weighted)).abs()  # chi_S times x_i is chi of S without i, or with
    if relevant.all() or not relevant.any():
        return found.new_tensor(torch.nan)
    return found[relevant].min() - found[~relevant].max()
