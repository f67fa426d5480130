"""Induction heads and the heads beside them (Olsson et al. 2022; Elhage et al. 2021)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metrics.attention import Attention
from metrics.contract import metric


@metric(
    title="Prefix matching",
    unit="probability",
    task="repeated_tokens",
    axes=("layer", "head"),
    lower=0.0,
    upper=1.0,
    source="Olsson et al. 2022, 'In-context Learning and Induction Heads', head activation evaluators",
    undefined="no token of the sequence is a repeat",
)
def prefix_matching(attention: Attention, period: Int[Tensor, " batch"]) -> Float[Tensor, "batch head"]:
    """How much does a head attend to the tokens that followed earlier occurrences of the present token?

    **Definition.** The sequence is a start token and a block of `period` distinct random tokens, repeated. For a
    query at position q the induction targets are the positions q - k*period + 1 (k = 1, 2, ...) whose token before
    is an earlier copy of the query's token. The score sums the attention over the targets and averages over all
    queries that have one.

    **Reads.** `attention`, one layer at a time; `period` [batch], the block length of each sequence.

    **Returns** [batch head], a probability in 0..1: 1 for a perfect induction head. Uniform causal attention scores
    about the mean of (number of targets) / (q + 1), 0.031 for 25 tokens x 4. NaN when no token is a repeat.

    **Source.** Olsson et al. 2022, "Prefix matching" under head activation evaluators; the text's "tokens that
    preceded" is read as the follower, as its own definition of induction heads says. Departures: summed over
    targets where the paper's words average over entries, which caps a perfect head at 1/2 for four repeats; and
    the block length varies from sequence to sequence, since with a single one a fixed positional offset scores like
    induction.

    **Example.** Block [a b], sequence S a b a: the last token's only target is b, at position 2.

    >>> from metrics.attention import from_pattern
    >>> pattern = torch.eye(4)[None, None]
    >>> pattern[..., 3, :] = torch.tensor([0.1, 0.0, 0.7, 0.2])
    >>> prefix_matching(from_pattern(pattern), torch.tensor([2]))
    tensor([[0.7000]])
    """
    return _mean_over_repeats(attention, period, shift=1)


@metric(
    title="Prefix matching, mean of entries",
    unit="probability",
    task="repeated_tokens",
    axes=("layer", "head"),
    lower=0.0,
    upper=1.0,
    source="Olsson et al. 2022, 'In-context Learning and Induction Heads', head activation evaluators",
    undefined="no token of the sequence is a repeat",
)
def prefix_matching_entry_mean(attention: Attention, period: Int[Tensor, " batch"]) -> Float[Tensor, "batch head"]:
    """What is prefix matching by the paper's own words, as an average over pattern entries?

    **Definition.** The attention of `prefix_matching`, summed over all pairs of a query and one of its targets and
    divided by the number of pairs.

    **Reads.** `attention`, one layer at a time; `period` [batch].

    **Returns** [batch head]. Each query's attention is shared by its targets, so a perfect induction head scores
    (queries with a target) / (pairs): 0.5 for four repeats, 1 for two. Uniform attention scores 0.015 for 25 tokens
    x 4. NaN when no token is a repeat.

    **Source.** Olsson et al. 2022, "Prefix matching": "the average of all attention pattern entries". Departure: the
    block length varies, as for `prefix_matching`.

    **Example.** Block [a], sequence S a a a: the last token's targets are positions 2 and 3, the third's position 2.

    >>> from metrics.attention import from_pattern
    >>> pattern = torch.eye(4)[None, None]
    >>> pattern[..., 3, :] = torch.tensor([0.0, 0.2, 0.5, 0.3])
    >>> prefix_matching_entry_mean(from_pattern(pattern), torch.tensor([1]))  # (1 + 0.5 + 0.3) / 3
    tensor([[0.6000]])
    """
    summed, pairs = _sum_over_repeats(attention, period, shift=1)
    return summed / pairs


@metric(
    title="Induction score (TransformerLens)",
    unit="probability",
    task="repeated_tokens",
    axes=("layer", "head"),
    lower=0.0,
    upper=1.0,
    source="TransformerLens, Main_Demo, induction stripe: mean of the diagonal at 1 - seq_len",
    undefined="the sequence does not hold its block twice",
)
def induction_score(attention: Attention, period: Int[Tensor, " batch"]) -> Float[Tensor, "batch head"]:
    """How bright is the induction stripe, as TransformerLens' demonstration draws it?

    **Definition.** On a start token and a block of `period` tokens repeated once: the mean of the pattern's diagonal
    at 1 - period, that is of the attention from q to q - period + 1 for q = period - 1 .. 2 * period.

    **Reads.** `attention`, one layer at a time; `period` [batch]. What follows the second copy is not read.

    **Returns** [batch head]. The diagonal has period + 2 entries, two of which are no induction queries: a perfect
    induction head scores between period / (period + 2) and 1. It is not `prefix_matching`, which has every repeat and
    only the queries that have a target. NaN where a sequence does not hold two copies.

    **Source.** TransformerLens, Main_Demo. Departures: the block length varies; a start token is prepended always.

    **Example.** Block [a b], sequence S a b a b: the diagonal one back, here 1 at its four places but the first.

    >>> from metrics.attention import from_pattern
    >>> pattern = torch.eye(5).roll(-1, 1)
    >>> pattern[1] = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])
    >>> induction_score(from_pattern(pattern[None, None]), torch.tensor([2]))
    tensor([[0.7500]])
    """
    query_pos = torch.arange(attention.n_positions, device=attention.device)
    period = period.to(attention.device)[:, None]
    on_diagonal = (query_pos >= period - 1) & (query_pos <= 2 * period)
    stripe = attention.to(torch.where(on_diagonal, query_pos - period + 1, -1)).sum(-1) / (period + 2)
    return torch.where(2 * period < attention.n_positions, stripe, float("nan"))


@metric(
    title="Duplicate-token attention",
    unit="probability",
    task="repeated_tokens",
    axes=("layer", "head"),
    lower=0.0,
    upper=1.0,
    source="Wang et al. 2022, 'Interpretability in the Wild', section 3 (duplicate token heads)",
    undefined="no token of the sequence is a repeat",
)
def duplicate_token_attention(attention: Attention, period: Int[Tensor, " batch"]) -> Float[Tensor, "batch head"]:
    """How much does a head attend to earlier copies of the present token?

    **Definition.** On the sequences of `prefix_matching`, the attention from position q summed over q - k*period
    (k = 1, 2, ...; the start token excluded), averaged over the queries that have an earlier copy.

    **Reads.** `attention`, one layer at a time; `period` [batch].

    **Returns** [batch head], a probability in 0..1; a perfect induction head scores 0. NaN when no token is a repeat.

    **Source.** Wang et al. 2022, duplicate token heads. Departure: measured on random repeated tokens instead of
    names in sentences.

    **Example.** Block [a b], sequence S a b a: the last token's earlier copy is at position 1.

    >>> from metrics.attention import from_pattern
    >>> pattern = torch.eye(4)[None, None]
    >>> pattern[..., 3, :] = torch.tensor([0.1, 0.6, 0.2, 0.1])
    >>> duplicate_token_attention(from_pattern(pattern), torch.tensor([2]))
    tensor([[0.6000]])
    """
    return _mean_over_repeats(attention, period, shift=0)


@metric(
    title="Previous-token attention",
    unit="probability",
    task="text",
    axes=("layer", "head"),
    lower=0.0,
    upper=1.0,
    source="Olsson et al. 2022, 'In-context Learning and Induction Heads', head activation evaluators",
    undefined="the sequences hold a single token",
)
def previous_token_attention(attention: Attention) -> Float[Tensor, "batch head"]:
    """How much does a head attend to the token just before the present one?

    **Definition.** mean over q >= 1 of the attention from q to q - 1, on text like that of training.

    **Reads.** `attention`, one layer at a time.

    **Returns** [batch head], a probability in 0..1. Uniform causal attention over T tokens gives
    (H_T - 1) / (T - 1) with H_T the harmonic number: 0.0594 at T = 64. NaN for sequences of one token.

    **Source.** Olsson et al. 2022, previous-token evaluator; Elhage et al. 2021.

    **Example.** Three tokens, each attending fully to the one before:

    >>> from metrics.attention import from_pattern
    >>> previous_token_attention(from_pattern(torch.eye(3).roll(-1, 1)[None, None]))
    tensor([[1.]])
    """
    if attention.n_positions < 2:
        return attention.lse.new_full(attention.lse.shape[:2], float("nan"))
    return attention.at_offset(1).mean(-1)


def _mean_over_repeats(
    attention: Attention, period: Int[Tensor, " batch"], *, shift: int
) -> Float[Tensor, "batch head"]:
    """Attention from q to q - k*period + shift, summed over k and averaged over the queries with an earlier copy."""
    summed, _ = _sum_over_repeats(attention, period, shift=shift)
    is_repeat = torch.arange(attention.n_positions, device=attention.device) > period.to(attention.device)[:, None]
    return summed / is_repeat.sum(-1)[:, None]


def _sum_over_repeats(
    attention: Attention, period: Int[Tensor, " batch"], *, shift: int
) -> tuple[Float[Tensor, "batch head"], Int[Tensor, "batch 1"]]:
    """Attention from q to q - k*period + shift, summed over q and k, and the number of such pairs."""
    query_pos = torch.arange(attention.n_positions, device=attention.device)
    period = period.to(attention.device)
    total, count = torch.zeros_like(attention.lse), torch.zeros_like(period)
    for k in range(1, (attention.n_positions - 1) // int(period.min()) + 1):
        copy_pos = query_pos[None, :] - k * period[:, None]  # [batch query_pos]
        has_copy = copy_pos >= 1  # position 0 is the start token, which is no copy of anything
        if has_copy.any():
            total = total + attention.to(torch.where(has_copy, copy_pos + shift, -1))
            count = count + has_copy.sum(-1)
    return total.sum(-1), count[:, None]
