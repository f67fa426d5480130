"""The circuit that a network grows for modular addition (Nanda et al. 2023): what its logits, neurons and attention
are made of. All over every pair (a, b), a-major, read after the '=' sign, in float64.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metrics.contract import metric
from metrics.fourier import (
    answer_cosine,
    answer_distance,
    answer_loss,
    by_frequency,
    fourier_norms,
    key_frequencies,
    neuron_logit_map,
    neuron_variance_by_frequency,
    number_logits,
    sum_directions,
)

PAPER = "Nanda et al. 2023, 'Progress measures for grokking via mechanistic interpretability'"
Logits = Float[Tensor, "pair pos d_vocab"]
WUFinal = Float[Tensor, "d_model d_vocab"]
WOutFinal = Float[Tensor, "n_layers d_mlp d_model"]


@metric(
    title="Height of cos(w(a + b - c)) in the logits", unit="logit", task="modular_addition", axes=("index",),
    per_example=False, first_index=1, source=f"{PAPER}, section 4", undefined="a logit is not finite",
)  # fmt: skip
def cosine_coefficient(logits: Logits, p: int) -> Float[Tensor, " frequency"]:
    """With what height does each frequency's answer wave stand in the logits?

    **Definition.** For k = 1 .. (p - 1) / 2 the least-squares coefficient of cos(2 pi k (a + b - c) / p), over all
    pairs and numbers c: <logits, wave> / <wave, wave>.

    **Reads.** `logits` [pair pos d_vocab]; `p`.

    **Returns** [frequency], in logits, index k from 1. NaN where a logit is not finite.

    **Source.** Nanda et al. 2023, section 4: the logits are nearly a sum of such waves. Their code gives the
    coefficient of the normalised wave; this is the same divided by the norm of the wave, so that it is a height.

    **Example.** See `tests/test_metric_grokking_circuit.py`: a wave of height 10 has coefficient 10.
    """
    ours = number_logits(logits, p)
    # The waves are functions of a + b - c alone, so that one sum for each of its values serves all of them.
    distance = answer_distance(p).to(ours.device).flatten()
    sums = torch.zeros(p, dtype=ours.dtype, device=ours.device).index_add(0, distance, ours.flatten())
    angle = 2 * math.pi * torch.arange(p, dtype=ours.dtype, device=ours.device) / p
    waves = torch.cos(torch.arange(1, (p - 1) // 2 + 1, device=ours.device)[:, None] * angle)
    return waves @ sums / (p**2 * waves.square().sum(1))


@metric(
    title="Logit variance explained by cos(w(a + b - c)) at the key frequencies", unit="fraction",
    task="modular_addition", axes=("label",), labels=("by_pair", "by_pair_and_number"), lower=0.0, upper=1.0,
    per_example=False, source=f"{PAPER}, section 4", undefined="the logits do not vary",
)  # fmt: skip
def logit_variance_explained(
    logits: Logits, p: int, W_U_final: WUFinal, W_out_final: WOutFinal
) -> Float[Tensor, " label"]:
    """How much of what the network says is the trigonometric answer?

    **Definition.** The share of the sum of squares of the logits, over all pairs and numbers, that the sum of the
    waves cos(2 pi k (a + b - c) / p) at the key frequencies k explains, each with its least-squares height. Of the
    logits less each pair's mean (to which the softmax is blind), and of these less each number's mean too.

    **Reads.** `logits` [pair pos d_vocab]; `p`; `W_U_final`, `W_out_final` for the key frequencies of the last
    checkpoint (rule: `key_frequency`).

    **Returns** [label], 0..1: centred by pair, and by pair and number. NaN when such logits are all zero.

    **Source.** Nanda et al. 2023, section 4, which gives 95 % for its network and does not say what it centres, so
    both are given. `docs/toy-models.md` has what the published checkpoints give.

    **Example.** See `tests/test_metric_grokking_circuit.py`: waves of heights 3 (key) and 4 (not) give 9 / 25.
    """
    by_pair = number_logits(logits, p)
    by_pair = by_pair - by_pair.mean(1, keepdim=True)
    explained = by_pair.new_zeros(())
    for k in key_frequencies(W_U_final, W_out_final[-1], p):
        wave = answer_cosine(p, k).to(by_pair.device)  # orthogonal to the others and to whatever is centred away
        explained = explained + (by_pair * wave).sum().square() / wave.square().sum()
    totals = torch.stack([x.square().sum() for x in (by_pair, by_pair - by_pair.mean(0))])
    # Equal logits leave rounding errors of their mean, which are no variance to explain.
    scale = number_logits(logits, p).square().sum()
    return explained / totals.where(totals > 1e-20 * scale, torch.nan)


@metric(
    title="Excluded loss, three-dimensional", unit="nats", task="modular_addition", lower=0.0, per_example=False,
    source=f"{PAPER}, its notebook", undefined="a logit is not finite",
)  # fmt: skip
def excluded_loss_3d(
    logits: Logits, answer: Int[Tensor, " pair"], train: Bool[Tensor, " pair"], p: int,
    W_U_final: WUFinal, W_out_final: WOutFinal,
) -> Tensor:  # fmt: skip
    """How well does the network do on its training pairs without the answer waves themselves?

    **Definition.** The cross-entropy over the training pairs after removing from the logits only their component
    along cos(2 pi k (a + b - c) / p), one direction over pairs and numbers for each key frequency k. `excluded_loss`
    removes every function of a + b at these frequencies, whatever number it points to.

    **Reads.** `logits` [pair pos d_vocab]; `answer`, `train` [pair]; `p`; `W_U_final`, `W_out_final` for the key
    frequencies of the last checkpoint (rule: `key_frequency`).

    **Returns** one exact number, nats, >= 0. NaN where a logit is not finite or there is no training pair.

    **Source.** The notebook of Nanda et al. 2023.

    **Example.** See `tests/test_metric_grokking_circuit.py`: a wave alone drops to ln p.
    """
    ours = number_logits(logits, p)
    rest = ours
    for k in key_frequencies(W_U_final, W_out_final[-1], p):
        wave = answer_cosine(p, k).to(ours.device)
        rest = rest - wave * ((ours * wave).sum() / wave.square().sum())
    return answer_loss(rest, answer)[train].mean()


@metric(
    title="Excluded loss, largest over frequencies", unit="nats", task="modular_addition", lower=0.0,
    per_example=False, source=f"{PAPER}, footnote on frequencies unknown in advance", undefined="a logit is not finite",
)  # fmt: skip
def excluded_loss_largest(logits: Logits, answer: Int[Tensor, " pair"], train: Bool[Tensor, " pair"], p: int) -> Tensor:
    """How much does the network rely on the frequency that it needs most, whichever that is?

    **Definition.** The largest, over all frequencies k, of the cross-entropy on the training pairs after removing the
    components along cos and sin of w_k (a + b). No other checkpoint is read, so it can be followed while training.

    **Reads.** `logits` [pair pos d_vocab]; `answer`, `train` [pair]; `p`.

    **Returns** one exact number, nats, >= 0. NaN where a logit is not finite or there is no training pair.

    **Source.** Nanda et al. 2023, footnote 3, as the variant that needs no trained network.

    **Example.** See `tests/test_metric_grokking_circuit.py`: a wave alone drops to ln p.
    """
    ours, losses = number_logits(logits, p), []
    for k in range(1, (p - 1) // 2 + 1):
        directions = sum_directions(p, k).to(ours.device)
        removed = directions[:, train].T @ (directions @ ours)
        losses.append(answer_loss(ours[train] - removed, answer[train]).mean())
    return torch.stack(losses).max()


@metric(
    title="Neurons by frequency (over 85 % of a neuron's variance at one frequency)", unit="neurons",
    task="modular_addition", axes=("index",), lower=0.0, per_example=False, first_index=1,
    source=f"{PAPER}, section 4", undefined="an activation is not finite",
)  # fmt: skip
def neurons_of_frequency(mlp_post: Float[Tensor, "pair pos d_mlp"], p: int) -> Float[Tensor, " frequency"]:
    """How many neurons have gathered at each frequency?

    **Definition.** The number of neurons whose variance over all pairs is, for more than 85 %, made of the products
    of {1, cos w_k a, sin w_k a} and {1, cos w_k b, sin w_k b}, constant left out. A neuron that never varies counts
    nowhere. It is also a rule for key frequencies: those with neurons.

    **Reads.** `mlp_post` [pair pos d_mlp], the last layer's neurons after the '='; `p`.

    **Returns** [frequency], neurons, index k from 1; NaN never for finite activations.

    **Source.** Nanda et al. 2023, section 4. The paper's code looks at the first 55 frequencies of 56; here at all.

    **Example.** See `tests/test_metric_grokking_circuit.py`: neurons made of chosen frequencies are counted there.
    """
    explained = neuron_variance_by_frequency(mlp_post, p)
    best = explained.max(0)
    counted = torch.bincount(best.indices[best.values > 0.85], minlength=(p - 1) // 2)
    return counted.double()


@metric(
    title="Neurons of one frequency (over 85 % of their variance)", unit="fraction", task="modular_addition",
    lower=0.0, upper=1.0, per_example=False, source=f"{PAPER}, section 4", undefined="an activation is not finite",
)  # fmt: skip
def periodic_neurons(mlp_post: Float[Tensor, "pair pos d_mlp"], p: int) -> Tensor:
    """What share of the neurons works at a single frequency?

    **Definition.** The share of all neurons of the last layer that `neurons_of_frequency` counts at any frequency.

    **Reads.** `mlp_post` [pair pos d_mlp], after the '='; `p`.

    **Returns** one exact number in 0..1; a neuron that never varies counts as none.

    **Source.** Nanda et al. 2023, section 4: 433 of 512 (84.6 %) in the trained network.

    **Example.** See `tests/test_metric_grokking_circuit.py`: noise has none, cosines of a alone have all.
    """
    return (neuron_variance_by_frequency(mlp_post, p).max(0).values > 0.85).double().mean()


@metric(
    title="Embedding by frequency", unit="norm", task="modular_addition", axes=("index",), lower=0.0,
    per_example=False, first_index=1, source=f"{PAPER}, section 4", undefined="a weight is not finite",
)  # fmt: skip
def embedding_frequency(W_E: Float[Tensor, "d_vocab d_model"], p: int) -> Float[Tensor, " frequency"]:
    """Which frequencies does the embedding hold?

    **Definition.** The norm of the Fourier component, cosine and sine together, of the embedding of the numbers.

    **Reads.** `W_E` [d_vocab d_model]; `p`.

    **Returns** [frequency], index k from 1, >= 0. NaN where a weight is not finite.

    **Source.** Nanda et al. 2023, section 4. Its later demonstration calls key those above a quarter of the largest.

    **Example.** Equal embeddings hold none:

    >>> embedding_frequency(torch.ones(6, 2), 5).round(decimals=6).abs()
    tensor([0., 0.], dtype=torch.float64)
    """
    return by_frequency(fourier_norms(W_E[:p]))


@metric(
    title="Neuron-logit map by frequency", unit="norm", task="modular_addition", axes=("index",), lower=0.0,
    per_example=False, first_index=1, source=f"{PAPER}, appendix C.2", undefined="a weight is not finite",
)  # fmt: skip
def output_frequency(
    W_U: Float[Tensor, "d_model d_vocab"], W_out: Float[Tensor, "n_layers d_mlp d_model"], p: int
) -> Float[Tensor, " frequency"]:
    """Which frequencies do the neurons write to the logits with?

    **Definition.** The norm of the Fourier component, cosine and sine together, of W_L = W_out W_U of the last layer.

    **Reads.** `W_U` [d_model d_vocab]; `W_out` [n_layers d_mlp d_model]; `p`.

    **Returns** [frequency], index k from 1, >= 0. NaN where a weight is not finite.

    **Source.** Nanda et al. 2023, appendix C.2.

    **Example.** Equal effects on every number hold none:

    >>> output_frequency(torch.ones(2, 6), torch.ones(1, 3, 2), 5).round(decimals=6).abs()
    tensor([0., 0.], dtype=torch.float64)
    """
    return by_frequency(fourier_norms(neuron_logit_map(W_U, W_out[-1], p)))
