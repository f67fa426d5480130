"""Which frequencies a network for modular addition works with, by three rules, and how much they hold."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metrics.contract import metric
from metrics.fourier import (
    answer_loss,
    by_frequency,
    fourier_norms,
    key_frequencies,
    neuron_logit_map,
    neuron_variance_by_frequency,
    number_logits,
    stands_out,
    sum_component,
)

PAPER = "Nanda et al. 2023, 'Progress measures for grokking via mechanistic interpretability'"
CLUSTER = 0.85  # of a neuron's variance at one frequency, as in the paper


@metric(
    title="Key frequency by rule (W_L and W_E: norm above a quarter of the largest; neurons: one has 85 % there)",
    unit="indicator", task="modular_addition", axes=("label", "index"), labels=("W_L", "W_E", "neurons"), lower=0.0,
    upper=1.0, per_example=False, first_index=1, source=f"{PAPER}, section 4 and appendix C.2",
    undefined="a weight is not finite",
)  # fmt: skip
def key_frequency_by_rule(
    W_E: Float[Tensor, "d_vocab d_model"],
    W_U: Float[Tensor, "d_model d_vocab"],
    W_out: Float[Tensor, "n_layers d_mlp d_model"],
    mlp_post: Float[Tensor, "pair pos d_mlp"],
    p: int,
) -> Float[Tensor, "rule frequency"]:
    """Do weights and neurons agree on which frequencies are key, and since when?

    **Definition.** At this checkpoint, 1 for a frequency that is key by the rule: `W_L`, the norm of its component
    (cosine and sine together) of the neuron-logit map W_out W_U is above a quarter of the largest; `W_E`, the same of
    the embedding of the numbers; `neurons`, at least one neuron has more than 85 % of its variance there.

    **Reads.** `W_E`, `W_U`, `W_out`; `mlp_post` [pair pos d_mlp], after the '='; `p`.

    **Returns** [rule, frequency], 1 or 0, index k from 1. NaN where a weight is not finite.

    **Source.** Nanda et al. 2023: appendix C.2 (W_L, no threshold given), its demonstration (W_E, a quarter of the
    largest), its notebook (neurons). `key_frequency` is the first rule at the last checkpoint, for the measures that
    need one set for the whole of training; this one moves along. On the published network W_L and the neurons give
    the paper's {14, 35, 41, 42, 52}, and W_E 31 beside them.

    **Example.** See `tests/test_metric_key_frequencies.py`.
    """
    norms = [by_frequency(fourier_norms(part)) for part in (neuron_logit_map(W_U, W_out[-1], p), W_E[:p])]
    shares = neuron_variance_by_frequency(mlp_post, p)
    best = shares.max(0)
    counted = torch.bincount(best.indices[best.values > CLUSTER], minlength=len(shares))
    rules = torch.stack([stands_out(norms[0]), stands_out(norms[1]), counted > 0]).double()
    finite = torch.stack([*(norm.isfinite().all() for norm in norms), mlp_post.isfinite().all()])
    return rules.where(finite[:, None], torch.nan)


@metric(
    title="Variance of the neurons in each frequency's cluster", unit="fraction", task="modular_addition",
    axes=("index",), lower=0.0, upper=1.0, per_example=False, first_index=1, source=f"{PAPER}, section 4",
    undefined="no neuron varies, or an activation is not finite",
)  # fmt: skip
def cluster_variance_explained(mlp_post: Float[Tensor, "pair pos d_mlp"], p: int) -> Float[Tensor, " frequency"]:
    """How much of what the neurons do is a cluster of neurons at one frequency?

    **Definition.** Of the summed variance of all neurons of the last layer, over all pairs, the share that lies at
    frequency k in the neurons that have more than 85 % of their own there (those of `neurons_of_frequency`).

    **Reads.** `mlp_post` [pair pos d_mlp], after the '='; `p`.

    **Returns** [frequency], 0..1, index k from 1; 0 where no neuron has gathered. The sum over k is what the clusters
    explain of the layer. NaN when no neuron varies.

    **Source.** Nanda et al. 2023, section 4, which counts the neurons of each cluster; their share of the layer's
    variance is ours.

    **Example.** See `tests/test_metric_key_frequencies.py`.
    """
    shares = neuron_variance_by_frequency(mlp_post, p)
    variance = mlp_post[:, -1].double().var(0, correction=0)
    best = shares.max(0)
    kept = torch.where(best.values > CLUSTER, best.values * variance, 0.0)
    held = torch.zeros(len(shares), dtype=torch.float64, device=kept.device).index_add(0, best.indices, kept)
    total = variance.where(shares.isfinite().all(0) | ~variance.isfinite(), 0.0).sum()
    return held / total.where(total > 0, torch.nan)


@metric(
    title="Test loss over restricted loss", unit="ratio", task="modular_addition", lower=0.0, per_example=False,
    source=f"{PAPER}, section 5.1", undefined="a logit is not finite, or no pair is unseen",
)  # fmt: skip
def test_over_restricted(
    logits: Float[Tensor, "pair pos d_vocab"], answer: Int[Tensor, " pair"], train: Bool[Tensor, " pair"], p: int,
    W_U_final: Float[Tensor, "d_model d_vocab"], W_out_final: Float[Tensor, "n_layers d_mlp d_model"],
) -> Tensor:  # fmt: skip
    """How much worse does the network do on unseen pairs than the part of it that generalises would alone?

    **Definition.** `test_loss` / `restricted_loss` over all pairs.

    **Reads.** `logits` [pair pos d_vocab]; `answer`, `train` [pair]; `p`; `W_U_final`, `W_out_final` for the key
    frequencies of the last checkpoint (rule: `key_frequency`).

    **Returns** one exact number, > 0: 1 before anything is learnt, large while what was memorised hides the circuit,
    near 1 again once it is cleaned up. NaN where a logit is not finite or no pair is unseen.

    **Source.** Nanda et al. 2023, section 5.1, the figure of the progress measures.

    **Example.** See `tests/test_metric_key_frequencies.py`: equal logits give 1.
    """
    ours = number_logits(logits, p)
    kept = sum_component(ours, key_frequencies(W_U_final, W_out_final[-1], p), p) + ours.mean(0)
    return answer_loss(ours, answer)[~train].mean() / answer_loss(kept, answer).mean()
