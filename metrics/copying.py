"""Do heads copy the tokens they attend to? By their weights, on random tokens (Olsson et al. 2022; Wang et al. 2022).

The direct path alone: from a token's embedding through one head's values and output to the unembedding. The gains of
the norms are folded in, their centring and all biases are not; embeddings are brought to one size, as norms do.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metrics.contract import metric

TOP = 5  # Wang et al. 2022
TOKENS_EACH = 2  # of every example: each costs a row of logits for every head
COLUMNS = 8192  # of the vocabulary taken at once

Tokens = Int[Tensor, "batch pos"]
Embedding = Float[Tensor, "d_vocab d_model"]
Gains = Float[Tensor, "n_layers d_model"]
ByHeadIn = Float[Tensor, "n_layers n_heads d_model d_head"]
ByHeadOut = Float[Tensor, "n_layers n_heads d_head d_model"]
Gain = Float[Tensor, " d_model"]
Unembedding = Float[Tensor, "d_model d_vocab"]
ByHead = Float[Tensor, "batch layer head"]


@metric(
    title="Copying (Olsson, reconstructed)", unit="score", task="repeated_tokens", axes=("layer", "head"), lower=-1.0,
    upper=1.0, source="Olsson et al. 2022, 'In-context Learning and Induction Heads', head activation evaluators",
    undefined="a head raises none of the tokens",
)  # fmt: skip
def olsson_copying_reconstructed(
    tokens: Tokens, period: Int[Tensor, " batch"], W_E: Embedding, ln1_w: Gains, W_V: ByHeadIn, W_O: ByHeadOut,
    ln_final_w: Gain, W_U: Unembedding,
) -> ByHead:  # fmt: skip
    """Does a head raise the logit of the token that it attends to, more than those of other tokens?

    **Definition.** For N distinct random tokens: the logits that a head gives all N when it attends to one, less their
    mean over the vocabulary, negative ones set to 0. r is the average raise of the token attended to, R that of all N
    together. Score 4 r / (r + R) - 1.

    **Reads.** `tokens` and `period`: N is the length of the shortest block, 17 by default; the embeddings, the gains
    of the norms, `W_V`, `W_O`.

    **Returns** [batch layer head], -1 (the token itself is never raised) to 1 (it alone is). Where all are raised
    alike, as by random weights, R = N r: 4 / (N + 1) - 1, that is -0.78 for 17 tokens. NaN for a head that raises
    nothing.

    **Source.** Olsson et al. 2022, "Copying" under head activation evaluators, whose words leave open how the ratio
    comes to lie in 0 to 1/2 before it is scaled; this reading has that range. Departures: the head attends to one
    token wholly, where the paper has its own pattern; embeddings in place of what the layer reads; 17 tokens for 25.

    **Example.** See `tests/test_metric_copying.py`: the identity gives 1, its negative -1.
    """
    n = int(period.min())
    chosen = tokens[:, 1 : n + 1]
    columns = (W_U.T[chosen] - W_U.mean(1)).to(W_V.dtype)  # [batch n d_model]
    by_layer = []
    for layer in range(len(W_V)):
        values = _values(chosen, W_E, ln1_w[layer], W_V[layer])
        keys = torch.einsum("bmd,hed->bhme", columns * ln_final_w, W_O[layer])
        raises = (values @ keys.transpose(2, 3)).clamp(min=0)  # [batch head attended token]
        own, all_of_them = raises.diagonal(dim1=2, dim2=3).mean(-1), raises.sum(-1).mean(-1)
        by_layer.append(4 * own / (own + all_of_them) - 1)
    return torch.stack(by_layer, 1)


@metric(
    title="Copy score (IOI)", unit="fraction of tokens", task="repeated_tokens", axes=("layer", "head"), lower=0.0,
    upper=1.0, source="Wang et al. 2022, 'Interpretability in the Wild', section 3.3 and appendix",
    undefined="a head's matrix is zero",
)  # fmt: skip
def ioi_copy_score(
    tokens: Tokens, W_E: Embedding, ln1_w: Gains, W_V: ByHeadIn, W_O: ByHeadOut, ln_final_w: Gain, W_U: Unembedding
) -> ByHead:
    """Of how many tokens would a head put the logit among the five highest, attending to them?

    **Definition.** The share of tokens whose own logit is among the top five of the vocabulary, after embedding,
    W_V W_O and unembedding.

    **Reads.** `tokens`, the first two of every example's block; the embeddings, the gains of the norms, `W_V`, `W_O`.

    **Returns** [batch layer head], 0..1. Random weights give 5 / d_vocab. NaN for a head that is zero.

    **Source.** Wang et al. 2022: name movers above 0.95, the average head below 0.2. Departures: random tokens for
    names, and the embedding itself where the paper has it after the first MLP, without which later layers read what
    they never see in training. It needs a row of logits for every token and head, as no other metric here does.

    **Example.** See `tests/test_metric_copying.py`: the identity gives 1.
    """
    chosen = tokens[:, 1 : TOKENS_EACH + 1]
    by_layer = []
    for layer in range(len(W_V)):
        values = _values(chosen, W_E, ln1_w[layer], W_V[layer])
        written = (values @ W_O[layer]) * ln_final_w  # [batch head n d_model]
        own = torch.einsum("bhnd,bnd->bhn", written, W_U.T[chosen].to(written.dtype))
        bar, ahead = own + 1e-5 * own.abs(), torch.zeros_like(own)  # a token is not ahead of itself by rounding
        for start in range(0, W_U.shape[1], COLUMNS):
            ahead += (written @ W_U[:, start : start + COLUMNS].to(written.dtype) > bar[..., None]).sum(-1)
        among = torch.where(written.any(-1), (ahead < TOP).to(own.dtype), float("nan"))
        by_layer.append(among.mean(-1))
    return torch.stack(by_layer, 1)


def _values(chosen: Tokens, W_E: Embedding, gain: Gain, W_V: Float[Tensor, "n_heads d_model d_head"]) -> Tensor:
    """What each head reads of the tokens' embeddings, [batch head n d_head]."""
    embedded = W_E[chosen].to(W_V.dtype)
    size = embedded.square().mean(-1, keepdim=True).sqrt()
    return torch.einsum("bnd,hde->bhne", embedded / size * gain, W_V)
