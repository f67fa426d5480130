"""Skills learnt one at a time under a loss that falls smoothly (Michaud et al. 2023)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metrics.contract import metric

PAPER = "Michaud et al. 2023, 'The Quantization Model of Neural Scaling', section on multitask sparse parity"
Outputs = Float[Tensor, "example 2"]
Whole = Int[Tensor, " example"]


@metric(
    title="Loss of each subtask", unit="nats", task="multitask_parity", axes=("index",), lower=0.0, per_example=False,
    source=PAPER, undefined="an output is not finite",
)  # fmt: skip
def subtask_loss(
    outputs: Outputs, answer: Whole, subtask: Whole, frequency: Float[Tensor, " subtask"]
) -> Float[Tensor, " subtask"]:
    """Which of the skills has the network learnt?

    **Definition.** The mean cross-entropy over each subtask's examples. Of `frequency` only the number of subtasks
    is read.

    **Reads.** `outputs` [example 2], two logits; `answer` [example], 0 or 1; `subtask` [example], from 0; `frequency`
    [subtask].

    **Returns** [subtask], nats, index from 0, the most frequent first; chance is ln 2. NaN where an output is not
    finite, or a subtask has no example. A rare subtask's loss rises above ln 2 before it is learnt: a first passage
    below ln 2 says nothing.

    **Source.** Michaud et al. 2023, multitask sparse parity.

    **Example.** Equal logits on two subtasks:

    >>> subtask_loss(torch.zeros(4, 2), torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 1]), torch.ones(2) / 2)
    tensor([0.6931, 0.6931], dtype=torch.float64)
    """
    return _by_subtask(_losses(outputs, answer), subtask, len(frequency))


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
    title="Accuracy on each subtask", unit="fraction", task="multitask_parity", axes=("index",), lower=0.0, upper=1.0,
    per_example=False, source=PAPER, undefined="a subtask has no example",
)  # fmt: skip
def subtask_accuracy(
    outputs: Outputs, answer: Whole, subtask: Whole, frequency: Float[Tensor, " subtask"]
) -> Float[Tensor, " subtask"]:
    """What share of each subtask's questions is answered right?

    **Definition.** The share of a subtask's examples whose larger logit is the answer's; two equal logits are half
    right. Of `frequency` only the number of subtasks is read.

    **Reads.** `outputs` [example 2]; `answer`, `subtask` [example]; `frequency` [subtask].

    **Returns** [subtask], 0..1, index from 0; chance is 1/2. NaN where a subtask has no example, or an output is not
    finite.

    **Source.** Michaud et al. 2023.

    **Example.**

    >>> subtask_accuracy(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]), torch.tensor([0, 1]),
    ...                  torch.ones(2) / 2)
    tensor([1., 0.], dtype=torch.float64)
    """
    lead = outputs.gather(1, answer[:, None]).squeeze(1) - outputs.gather(1, 1 - answer[:, None]).squeeze(1)
    right = ((1 + lead.sign()) / 2).double().where(lead.isfinite(), torch.nan)  # the sign of NaN is 0
    return _by_subtask(right, subtask, len(frequency))


def _losses(outputs: Outputs, answer: Whole) -> Float[Tensor, " example"]:
    return -outputs.double().log_softmax(-1).gather(1, answer[:, None]).squeeze(1)


def _by_subtask(values: Float[Tensor, " example"], subtask: Whole, count: int) -> Float[Tensor, " subtask"]:
    """The mean of each subtask; NaN for one without examples."""
    return torch.stack([values[subtask == i].mean() for i in range(count)])
