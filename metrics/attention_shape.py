"""Where attention goes as such: how widely, how far, to the first token, to the present one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.attention import Attention
from metrics.contract import metric

SINK_THRESHOLD, SINK_LENGTH = 0.3, 64  # Gu et al. 2025
ByHead = Float[Tensor, "batch head"]


@metric(
    title="Attention entropy", unit="nats", task="text", axes=("layer", "head"), lower=0.0,
    source="Zhai et al. 2023, 'Stabilizing Transformer Training by Preventing Attention Entropy Collapse'",
    undefined="the sequences hold a single token",
)  # fmt: skip
def attention_entropy(attention: Attention) -> ByHead:
    """Over how many tokens does a head spread its attention?

    **Definition.** mean over q >= 1 of -sum over keys of p ln p; the first query, which has one key, is left out.

    **Reads.** `attention`, one layer at a time.

    **Returns** [batch head], nats, 0 (one key) to ln(q + 1). Uniform causal attention over T tokens gives
    ln(T!) / (T - 1): 3.257 at T = 64. It grows with T. NaN for sequences of one token.

    **Source.** Zhai et al. 2023, attention entropy. Departures: the first query is left out; where the architecture has
    learned attention sinks, the sink's share counts as one more outcome.

    **Example.** The second token attends evenly to both, which is ln 2:

    >>> from metrics.attention import from_pattern
    >>> attention_entropy(from_pattern(torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]])))
    tensor([[0.6931]])
    """
    return _mean_after_the_first(attention.entropy)


@metric(
    title="Normalised attention entropy", unit="fraction", task="text", axes=("layer", "head"), lower=0.0,
    upper=1.0, source="attention entropy over its maximum, query by query",
    undefined="the sequences hold a single token",
)  # fmt: skip
def attention_entropy_normalised(attention: Attention) -> ByHead:
    """How near is a head to attending everywhere alike?

    **Definition.** mean over q >= 1 of the entropy of query q over ln(q + 1), the most that its q + 1 keys allow.

    **Reads.** `attention`, one layer at a time.

    **Returns** [batch head], 0..1: 1 for uniform attention at any length. A sliding window caps it below 1, a learned
    sink may lift it a little above. NaN for sequences of one token.

    **Source.** The usual normalisation of `attention_entropy`; it makes lengths comparable.

    **Example.** The second token attends evenly to both:

    >>> from metrics.attention import from_pattern
    >>> attention_entropy_normalised(from_pattern(torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]])))
    tensor([[1.]])
    """
    most = torch.arange(2, attention.n_positions + 1, device=attention.device).log()
    return (attention.entropy[..., 1:] / most).mean(-1)


@metric(
    title="Attention distance", unit="tokens", task="text", axes=("layer", "head"), lower=0.0,
    source="Vig and Belinkov 2019, 'Analyzing the Structure of Attention in a Transformer Language Model'",
    undefined="the sequences hold a single token",
)  # fmt: skip
def attention_distance(attention: Attention) -> ByHead:
    """How far back does a head look?

    **Definition.** mean over q >= 1 of sum over keys k of p(q, k) (q - k).

    **Reads.** `attention`, one layer at a time.

    **Returns** [batch head], tokens, 0 to T / 2; uniform causal attention gives T / 4. Attention that rests on the
    first token counts as far: read it beside `first_token_attention`. NaN for sequences of one token.

    **Source.** Vig and Belinkov 2019, attention distance. Departures: the first query, which has no distance to go, is
    left out; with learned sinks the mean is over the attention that goes to tokens.

    **Example.** Two tokens, the second attending fully to the first:

    >>> from metrics.attention import from_pattern
    >>> attention_distance(from_pattern(torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])))
    tensor([[1.]])
    """
    return _mean_after_the_first(attention.distance)


@metric(
    title="First-token attention", unit="probability", task="text", axes=("layer", "head"), lower=0.0, upper=1.0,
    source="Xiao et al. 2024, 'Efficient Streaming Language Models with Attention Sinks', section 3.1",
    undefined="the sequences hold a single token",
)  # fmt: skip
def first_token_attention(attention: Attention) -> ByHead:
    """How much of a head's attention rests on the first token?

    **Definition.** mean over q >= 1 of the attention from q to position 0, here the start token.

    **Reads.** `attention`, one layer at a time.

    **Returns** [batch head], a probability. Uniform causal attention over T tokens gives (H_T - 1) / (T - 1) with H_T
    the harmonic number: 0.0594 at T = 64. NaN for sequences of one token.

    **Source.** Xiao et al. 2024, section 3.1 (attention sinks). Departure: a mean over queries, where the paper shows
    maps.

    **Example.** Two tokens, the second giving 0.8 to the first:

    >>> from metrics.attention import from_pattern
    >>> first_token_attention(from_pattern(torch.tensor([[[[1.0, 0.0], [0.8, 0.2]]]])))
    tensor([[0.8000]])
    """
    return _mean_after_the_first(attention.to_key(0))


@metric(
    title="Attention-sink rate", unit="fraction of sequences", task="text", axes=("layer", "head"), lower=0.0,
    upper=1.0, source="Gu et al. 2025, 'When Attention Sink Emerges in Language Models', sink metric",
)  # fmt: skip
def first_token_sink(attention: Attention) -> ByHead:
    """On what share of sequences is a head an attention sink?

    **Definition.** 1 where the mean attention of the first 64 queries to position 0, the first query included, is
    above 0.3. The mean over all heads is the paper's sink rate.

    **Reads.** `attention`, one layer at a time.

    **Returns** [batch head], 1 or 0. Uniform causal attention has a mean of H_64 / 64 = 0.074 and so gives 0. In
    sequences shorter than 64 all queries count; the first query alone already gives 1/T. Never NaN.

    **Source.** Gu et al. 2025, sink metric, with its threshold of 0.3 and length of 64. Departure: the first token is
    the task's start token, where the paper's sequences begin with a random one.

    **Example.** Two tokens: means of (1 + 0) / 2 and (1 + 1) / 2 are both above 0.3, which is why 64 are used:

    >>> from metrics.attention import from_pattern
    >>> first_token_sink(from_pattern(torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]]])))
    tensor([[1., 1.]])
    """
    return (attention.to_key(0)[..., :SINK_LENGTH].mean(-1) > SINK_THRESHOLD).float()


@metric(
    title="Current-token attention", unit="probability", task="text", axes=("layer", "head"), lower=0.0, upper=1.0,
    source="Clark et al. 2019, 'What Does BERT Look At?', section 3.1",
    undefined="the sequences hold a single token",
)  # fmt: skip
def current_token_attention(attention: Attention) -> ByHead:
    """How much does a head attend to the present token itself?

    **Definition.** mean over q >= 1 of the attention from q to q.

    **Reads.** `attention`, one layer at a time.

    **Returns** [batch head], a probability. Uniform causal attention over T tokens gives (H_T - 1) / (T - 1), 0.0594 at
    T = 64. NaN for sequences of one token.

    **Source.** Clark et al. 2019, section 3.1 (attention to the current token). Departure: the first query, which can
    attend to nothing else, is left out.

    **Example.** Two tokens, the second giving itself 0.2:

    >>> from metrics.attention import from_pattern
    >>> current_token_attention(from_pattern(torch.tensor([[[[1.0, 0.0], [0.8, 0.2]]]])))
    tensor([[0.2000]])
    """
    return _mean_after_the_first(attention.at_offset(0))


def _mean_after_the_first(by_query: Float[Tensor, "batch head query_pos"]) -> ByHead:
    """The mean over queries from the second on; NaN, the mean of nothing, for a single one."""
    return by_query[..., 1:].mean(-1)
