"""Whether attention heads look at numbers by a wave of a single frequency (Nanda et al. 2023)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric
from metrics.fourier import by_frequency, fourier_norms


@metric(
    title="Attention score explained by one frequency", unit="fraction", task="modular_addition", axes=("head",),
    lower=0.0, upper=1.0, per_example=False,
    source="Nanda et al. 2023, 'Progress measures for grokking via mechanistic interpretability', section 4",
    undefined="a head gives every number the same score",
)  # fmt: skip
def attention_periodicity(
    W_E: Float[Tensor, "d_vocab d_model"],
    W_pos: Float[Tensor, "n_ctx d_model"],
    W_Q: Float[Tensor, "n_layers n_heads d_model d_head"],
    W_K: Float[Tensor, "n_layers n_heads d_model d_head"],
    p: int,
) -> Float[Tensor, " head"]:
    """Is the attention that '=' pays to a number a wave of one frequency in that number?

    **Definition.** For each head of the first layer, the score that '=' gives the number x at a position, as a
    function of x = 0 .. p - 1, less its mean; the largest share of its variance that one frequency, cosine and sine
    together, explains. The position adds a constant, so the share is the same at both.

    **Reads.** `W_E` [d_vocab d_model], '=' is entry p; `W_pos` [n_ctx d_model], '=' stands at position 2; `W_Q`, `W_K`
    [n_layers n_heads d_model d_head]; `p`. Exact for networks without LayerNorm and attention biases.

    **Returns** [head], 0..1; noise gives about 2 ln(p) / p. NaN where the score does not depend on the number.

    **Source.** Nanda et al. 2023, section 4, on the periodic attention heads. The paper fits the attention after the
    softmax; the score before it is the part that is a function of one number.

    **Example.** See `tests/test_metric_attention_periodicity.py`: an embedding that is one wave alone.
    """
    query = torch.einsum("d,hde->he", (W_E[p] + W_pos[2]).double(), W_Q[0].double())
    key = torch.einsum("xd,hde->hxe", W_E[:p].double(), W_K[0].double())
    score = torch.einsum("hxe,he->xh", key, query)  # the scale 1/sqrt(d_head) cancels
    energy = torch.stack([by_frequency(fourier_norms(column[:, None])).square() for column in score.T])
    total = energy.sum(1)
    # A constant score leaves rounding errors, which are no variance to explain.
    return energy.max(1).values / total.where(total > 1e-20 * score.square().sum(0), torch.nan)
