"""Skills learnt one at a time under a loss that falls smoothly (Michaud et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metrics.contract import metric

PAPER = "Michaud et al. 2023, 'The Quantization Model of Neural Scaling', section on multitask sparse parity"
DISCOVERY = "Michaud et al. 2023, 'The Quantization Model of Neural Scaling', quanta discovery from gradients"
Outputs = Float[Tensor, "example 2"]
Whole = Int[Tensor, " example"]


@metric(
    title="Loss of each subtask", unit="nats", task="multitask_parity", axes=("label",), lower=0.0, per_example=False,
    version=2, source=PAPER, undefined="an output is not finite, or a subtask has no example",
)  # fmt: skip
def subtask_loss(
    outputs: Outputs, answer: Whole, subtask: Whole, frequency: Float[Tensor, " subtask"]
) -> dict[str, Tensor]:
    """Which of the skills has the network learnt?

    **Definition.** The mean cross-entropy over each subtask's examples. Of `frequency` only the number of subtasks
    is read.

    **Reads.** `outputs` [example 2], two logits; `answer` [example], 0 or 1; `subtask` [example], from 0; `frequency`
    [subtask].

    **Returns** one number for each subtask, nats, the most frequent numbered 0; chance is ln 2. NaN where an output
    is not finite, or a subtask has no example. A rare subtask's loss rises above ln 2 before it is learnt: a first
    passage below ln 2 says nothing.

    **Source.** Michaud et al. 2023, multitask sparse parity.

    **Example.** Equal logits on two subtasks, ln 2 for each:

    >>> subtask_loss(torch.zeros(4, 2), torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 1]), torch.ones(2) / 2)
    {'subtask 0': tensor(0.6931, dtype=torch.float64), 'subtask 1': tensor(0.6931, dtype=torch.float64)}
    """
    return _named(_by_subtask(_losses(outputs, answer), subtask, len(frequency)))


@metric(
    title="Loss of all subtasks by their frequency", unit="nats", task="multitask_parity", lower=0.0,
    per_example=False, source=PAPER, undefined="an output is not finite",
)  # fmt: skip
def frequency_weighted_loss(
    outputs: Outputs, answer: Whole, subtask: Whole, frequency: Float[Tensor, " subtask"]
) -> Tensor:
    """What loss does the network have on the questions as they are asked?

    **Definition.** sum_i p_i L_i over the subtasks, with p_i how often subtask i is asked and L_i its mean
    cross-entropy: the expected training loss.

    **Reads.** `outputs` [example 2]; `answer`, `subtask` [example]; `frequency` [subtask], adding up to 1.

    **Returns** one exact number, nats, >= 0; chance is ln 2. NaN where an output is not finite, or a subtask has no
    example.

    **Source.** Michaud et al. 2023: many sharp falls add up to a smooth one.

    **Example.** One subtask known for certain, asked three times of four, and one at chance: ln 2 / 4.

    >>> logits = torch.tensor([[99.0, 0.0], [0.0, 0.0]])
    >>> frequency_weighted_loss(logits, torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([0.75, 0.25]))
    tensor(0.1733, dtype=torch.float64)
    """
    return (frequency.double() * _by_subtask(_losses(outputs, answer), subtask, len(frequency))).sum()


@metric(
    title="Accuracy on each subtask", unit="fraction", task="multitask_parity", axes=("label",), lower=0.0, upper=1.0,
    per_example=False, version=2, source=PAPER, undefined="an output is not finite, or a subtask has no example",
)  # fmt: skip
def subtask_accuracy(
    outputs: Outputs, answer: Whole, subtask: Whole, frequency: Float[Tensor, " subtask"]
) -> dict[str, Tensor]:
    """What share of each subtask's questions is answered right?

    **Definition.** The share of a subtask's examples whose larger logit is the answer's; two equal logits are half
    right. Of `frequency` only the number of subtasks is read.

    **Reads.** `outputs` [example 2]; `answer`, `subtask` [example]; `frequency` [subtask].

    **Returns** one number for each subtask, 0..1; chance is 1/2. NaN where a subtask has no example, or an output is
    not finite.

    **Source.** Michaud et al. 2023.

    **Example.**

    >>> subtask_accuracy(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]), torch.tensor([0, 1]),
    ...                  torch.ones(2) / 2)
    {'subtask 0': tensor(1., dtype=torch.float64), 'subtask 1': tensor(0., dtype=torch.float64)}
    """
    lead = outputs.gather(1, answer[:, None]).squeeze(1) - outputs.gather(1, 1 - answer[:, None]).squeeze(1)
    right = ((1 + lead.sign()) / 2).double().where(lead.isfinite(), torch.nan)  # the sign of NaN is 0
    return _named(_by_subtask(right, subtask, len(frequency)))


@metric(
    title="Loss of each quantum's tokens", unit="nats", task="quanta", axes=("label",), lower=0.0, per_example=False,
    source=DISCOVERY, undefined="a logit is not finite",
)  # fmt: skip
def quantum_loss(
    token_loss: Float[Tensor, "batch pos"], quantum: Int[Tensor, "batch pos"], names: Sequence[str]
) -> dict[str, Tensor]:
    """When does the model learn to predict the tokens that it predicts by the same means?

    **Definition.** The mean cross-entropy of the tokens of each quantum: of each cluster of tokens whose losses have
    gradients of like direction at the last checkpoint.

    **Reads.** `token_loss` [batch pos]; `quantum` [batch pos], the number of each token's quantum, -1 for a token in
    none; `names`, of the quanta.

    **Returns** one number for each quantum by its name, nats, >= 0. NaN where a logit is not finite.

    **Source.** Michaud et al. 2023, who cluster at the end of training; following the clusters back through it is
    ours. Tokens are chosen by a low loss at the last checkpoint, so that every curve ends low.

    **Example.**

    >>> quantum_loss(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0, -1, 1]]), ["a", "b"])
    {'a': tensor(1.), 'b': tensor(4.)}
    """
    return {name: token_loss[quantum == number].mean() for number, name in enumerate(names)}


@metric(
    title="Loss of each chosen token", unit="nats", task="quanta", axes=("index",), lower=0.0, per_example=False,
    source="Michaud et al. 2023, 'The Quantization Model of Neural Scaling', monogenic and polygenic tokens",
    undefined="a logit is not finite",
)  # fmt: skip
def quantum_token_loss(
    token_loss: Float[Tensor, "batch pos"], quantum: Int[Tensor, "batch pos"]
) -> Float[Tensor, " token"]:
    """Is a single token's loss lost at once, or by degrees?

    **Definition.** The cross-entropy of each token that is in a quantum, in the order of the text.

    **Reads.** `token_loss` [batch pos]; `quantum` [batch pos], -1 for a token in none.

    **Returns** [token], nats, >= 0, index from 0. NaN where a logit is not finite.

    **Source.** Michaud et al. 2023, who follow tokens over the sizes of trained models; here over training.

    **Example.**

    >>> quantum_token_loss(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0, -1, 1]]))
    tensor([1., 4.])
    """
    return token_loss[quantum >= 0]


def _losses(outputs: Outputs, answer: Whole) -> Float[Tensor, " example"]:
    return -outputs.double().log_softmax(-1).gather(1, answer[:, None]).squeeze(1)


def _by_subtask(values: Float[Tensor, " example"], subtask: Whole, count: int) -> Float[Tensor, " subtask"]:
    """The mean of each subtask; NaN for one without examples."""
    return torch.stack([values[subtask == i].mean() for i in range(count)])


def _named(values: Float[Tensor, " subtask"]) -> dict[str, Tensor]:
    """By name, with numbers of equal width, so that names sort as numbers."""
    width = len(str(len(values) - 1))
    return {f"subtask {number:0{width}d}": value for number, value in enumerate(values)}
