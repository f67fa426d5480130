"""Linear regression in context: how does a transformer come to predict w . x from pairs of x and y alone?

Hoogland et al. 2024 follow how such a transformer develops: it first predicts what the tasks have in common, then
comes near ridge regression, later fits the inputs that it sees at the cost of others.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric

PAPER = "Hoogland et al. 2024, 'Loss Landscape Degeneracy and Stagewise Development in Transformers', regression"
# By how much inputs and weights are longer than in training; the first are those of training.
SHIFTS = {
    "as trained": (1.0, 1.0),
    "inputs x 3": (3.0, 1.0), "inputs x 5": (5.0, 1.0), "inputs x 10": (10.0, 1.0),
    "weights x 3": (1.0, 3.0), "weights x 5": (1.0, 5.0), "weights x 10": (1.0, 10.0),
}  # fmt: skip
SHIFTED = tuple(SHIFTS)[1:]

Pairs = Float[Tensor, "example shift pair"]
AsTrained = Float[Tensor, "example pair"]
UNDEFINED = "an output is not finite"


@metric(
    title="Squared error", unit="squared", task="linear_regression", lower=0.0, source=PAPER, undefined=UNDEFINED,
)  # fmt: skip
def regression_loss(outputs: Pairs, answer: Pairs) -> Float[Tensor, " example"]:
    """How well are the answers predicted?

    **Definition.** Mean over the K pairs of (y_hat - y)^2, each predicted from the pairs before it.

    **Reads.** `outputs` and `answer` [example shift pair], of which the first shift is the training distribution.

    **Returns** [example], >= 0. Predicting 0 costs D + noise variance for standard normal inputs and weights; the
    noise variance is the least there can be. NaN where an output is not finite.

    **Source.** Hoogland et al. 2024; Garg et al. 2022; Raventos et al. 2023.

    **Example.** Errors of 1 and 3 at two pairs:

    >>> regression_loss(torch.tensor([[[1.0, 3.0]]]), torch.zeros(1, 1, 2))
    tensor([5.])
    """
    return _errors(outputs, answer).mean(-1)


@metric(
    title="Squared error by pair", unit="squared", task="linear_regression", axes=("index",), lower=0.0,
    first_index=1, source=PAPER, undefined=UNDEFINED,
)  # fmt: skip
def regression_loss_by_pair(outputs: Pairs, answer: Pairs) -> AsTrained:
    """How well is the answer to the k-th input predicted, after k - 1 pairs?

    **Definition.** (y_hat_k - y_k)^2. **Reads.** `outputs`, `answer` [example shift pair].

    **Returns** [example pair], index from 1. NaN where an output is not finite.

    **Source.** Hoogland et al. 2024, per-token loss. **Example.**

    >>> regression_loss_by_pair(torch.tensor([[[1.0, 3.0]]]), torch.zeros(1, 1, 2))
    tensor([[1., 9.]])
    """
    return _errors(outputs, answer)


@metric(
    title="In-context learning score", unit="squared", task="linear_regression", axes=("label",),
    labels=("first to last", "first to D-th", "D-th to last"), source=PAPER, undefined=UNDEFINED,
)  # fmt: skip
def regression_icl_score(
    outputs: Pairs, answer: Pairs, inputs: Float[Tensor, "example shift pos number"]
) -> Float[Tensor, "example 3"]:
    """How much better is a late answer predicted than an early one?

    **Definition.** l_k' - l_k with l_k the squared error at the k-th pair, for (k, k') = (1, K), (1, D) and (D, K): D
    pairs are as many as there are weights to learn.

    **Reads.** `outputs`, `answer` [example shift pair]; of `inputs` the number of numbers in a token, D + 1.

    **Returns** [example 3], more negative is better. NaN where an output is not finite, and for the last two where
    there are fewer than D pairs.

    **Source.** Hoogland et al. 2024, whose figures show 1:8, 1:4 and 4:8 for D = 4 and K = 8.

    **Example.** D = 2 and errors of 2, 1 and 0:

    >>> outputs = torch.tensor([[[2.0, 1.0, 0.0]]])
    >>> regression_icl_score(outputs, torch.zeros(1, 1, 3), torch.zeros(1, 1, 6, 3))
    tensor([[-4., -3., -1.]])
    """
    errors, d = _errors(outputs, answer), inputs.shape[-1] - 1
    first, last = errors[:, 0], errors[:, -1]
    middle = errors[:, d - 1] if d <= errors.shape[1] else torch.full_like(last, torch.nan)
    return torch.stack([last - first, middle - first, last - middle], 1)


@metric(
    title="Distance to ridge regression", unit="squared", task="linear_regression", lower=0.0, source=PAPER,
    undefined=UNDEFINED,
)  # fmt: skip
def distance_to_ridge(outputs: Pairs, ridge: AsTrained) -> Float[Tensor, " example"]:
    """How far is what is predicted from what ridge regression would predict?

    **Definition.** Mean over pairs of (y_hat - y_ridge)^2, with y_ridge the prediction of ridge regression on the
    pairs before, its penalty the noise variance: the best there is for standard normal weights.

    **Reads.** `outputs` [example shift pair]; `ridge` [example pair] of the task.

    **Returns** [example], >= 0; 0 is ridge regression. NaN where an output is not finite.

    **Source.** Hoogland et al. 2024; Raventos et al. 2023, Delta_PT,Ridge, which divides by D; this does not.

    **Example.**

    >>> distance_to_ridge(torch.tensor([[[1.0, 3.0]]]), torch.tensor([[1.0, 1.0]]))
    tensor([2.])
    """
    return (outputs[:, 0] - ridge).square().mean(-1)


@metric(
    title="Distance to the best guess among the training tasks", unit="squared", task="linear_regression", lower=0.0,
    source="Raventos et al. 2023, 'Pretraining task diversity', discrete minimum mean squared error estimator",
    undefined=UNDEFINED,
)  # fmt: skip
def distance_to_dmmse(outputs: Pairs, dmmse: AsTrained) -> Float[Tensor, " example"]:
    """How far is what is predicted from what one would predict who knows which few tasks there are?

    **Definition.** Mean over pairs of (y_hat - y_dmmse)^2, with y_dmmse = w . x for the posterior mean w over the
    tasks of training, all alike beforehand, given the pairs before.

    **Reads.** `outputs` [example shift pair]; `dmmse` [example pair] of the task, which is ridge regression where the
    tasks are without end.

    **Returns** [example], >= 0. NaN where an output is not finite.

    **Source.** Raventos et al. 2023, Delta_PT,dMMSE, which divides by D; this does not.

    **Example.**

    >>> distance_to_dmmse(torch.tensor([[[1.0, 3.0]]]), torch.tensor([[1.0, 3.0]]))
    tensor([0.])
    """
    return (outputs[:, 0] - dmmse).square().mean(-1)


@metric(
    title="Distance to the task prior", unit="squared", task="linear_regression", lower=0.0, source=PAPER,
    undefined=UNDEFINED,
)  # fmt: skip
def distance_to_prior(outputs: Pairs, prior: AsTrained) -> Float[Tensor, " example"]:
    """How far is what is predicted from what the mean of all tasks would predict, whatever the context?

    **Definition.** Mean over pairs of (y_hat - w_mean . x)^2, with w_mean the mean of the tasks of training. Where
    they are without end it is 0, and this the mean squared prediction.

    **Reads.** `outputs` [example shift pair]; `prior` [example pair] of the task.

    **Returns** [example], >= 0. It falls while the task prior is learnt and rises again when the context is read: up
    to D, less what ridge regression shrinks. NaN where an output is not finite.

    **Source.** Hoogland et al. 2024, first stage, mean squared prediction and distance to the task average; the
    published code adds over pairs where this averages.

    **Example.**

    >>> distance_to_prior(torch.tensor([[[1.0, 3.0]]]), torch.zeros(1, 2))
    tensor([5.])
    """
    return (outputs[:, 0] - prior).square().mean(-1)


@metric(
    title="Squared error beyond the training distribution", unit="squared", task="linear_regression",
    axes=("label",), labels=SHIFTED, lower=0.0, source=PAPER, undefined=UNDEFINED,
)  # fmt: skip
def shifted_loss(outputs: Pairs, answer: Pairs) -> Float[Tensor, "example shifted"]:
    """How well are answers predicted whose inputs, or weights, are longer than in training?

    **Definition.** Mean over pairs of (y_hat - y)^2, divided by g^2, with all inputs x, or the weights w, of the same
    example multiplied by g and the noise as it was.

    **Reads.** `outputs` and `answer` [example shift pair].

    **Returns** [example shifted], >= 0; predicting 0 costs D and a little. NaN where an output is not finite.

    **Source.** Hoogland et al. 2024, out-of-distribution generalisation; g as in the published code, a factor of the
    input and not its variance.

    **Example.** An answer of 3, of which 0 is predicted, for inputs three times as long:

    >>> shifted_loss(torch.zeros(1, 7, 1), torch.tensor([1.0, 3.0, 0, 0, 0, 0, 0]).view(1, 7, 1))
    tensor([[1., 0., 0., 0., 0., 0.]])
    """
    factor = torch.tensor([inputs * weights for inputs, weights in SHIFTS.values()], device=outputs.device)[1:]
    return (outputs - answer)[:, 1:].square().mean(-1) / factor.square()


def _errors(outputs: Pairs, answer: Pairs) -> AsTrained:
    return (outputs[:, 0] - answer[:, 0]).square()
