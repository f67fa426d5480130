"""What heads do by their weights alone: copy tokens, and read what earlier heads write (Elhage et al. 2021).

Everything here is rank d_head at most, so only d_head x d_head products are ever formed. The gains of the norms are
folded into the matrices that read through them; their centring is not, and biases are left out.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric

PAPER = "Elhage et al. 2021, 'A Mathematical Framework for Transformer Circuits'"
VOCABULARY_ROWS = 8192  # of both embeddings taken at once, so that no copy of a large vocabulary is made

ByHeadIn = Float[Tensor, "n_layers n_heads d_model d_head"]
ByHeadOut = Float[Tensor, "n_layers n_heads d_head d_model"]
Gain = Float[Tensor, "n_layers d_model"]
ByPair = dict[str, Float[Tensor, ""]]
NOTHING = "a head's matrix is zero, or a weight is not finite"


@metric(
    title="Copying (OV eigenvalues)", unit="score", axes=("layer", "head"), lower=-1.0, upper=1.0,
    source=f"{PAPER}, 'Detecting Copying Behavior'", undefined=NOTHING,
)  # fmt: skip
def copying_eigenvalues(
    W_E: Float[Tensor, "d_vocab d_model"],
    ln1_w: Gain,
    W_V: ByHeadIn,
    W_O: ByHeadOut,
    ln_final_w: Float[Tensor, " d_model"],
    W_U: Float[Tensor, "d_model d_vocab"],
) -> Float[Tensor, "n_layers n_heads"]:
    """Does a head raise the logits of the tokens that it attends to?

    **Definition.** sum Re(lambda) / sum |lambda| over the eigenvalues of W_E W_V W_O W_U, [d_vocab d_vocab]. They are
    those of W_O W_U W_E W_V, [d_head d_head], and zeros.

    **Reads.** `W_E`; `ln1_w`, `ln_final_w`, the norms' gains, folded into what reads through them; `W_V`, `W_O`;
    `W_U`.

    **Returns** [n_layers n_heads], -1..1: 1 where every eigenvalue is positive, near 0 for random weights, -1 for a
    head that lowers what it attends to. NaN for a head that is zero and for weights that are not finite.

    **Source.** Elhage et al. 2021, "Detecting Copying Behavior", which warns that positive eigenvalues are no proof.
    Departures: gains folded in, centring left out; the direct path from the embedding at every layer, without the
    first MLP that others put before it.

    **Example.** See `tests/test_metric_composition.py`: the identity gives 1, a quarter turn 0.
    """
    direct = torch.zeros(W_E.shape[1], W_E.shape[1], dtype=torch.float64, device=W_E.device)
    for start in range(0, len(W_E), VOCABULARY_ROWS):
        rows = slice(start, start + VOCABULARY_ROWS)
        direct += W_U[:, rows].double() @ W_E[rows].double()
    values = _folded(W_V, ln1_w)
    product = W_O.double() @ (ln_final_w.double()[:, None] * direct) @ values  # [n_layers n_heads d_head d_head]
    finite = torch.isfinite(product).all(-1).all(-1)
    eigenvalues = torch.linalg.eigvals(torch.where(finite[..., None, None], product, 0.0))
    return eigenvalues.real.sum(-1) / eigenvalues.abs().sum(-1)


@metric(
    title="Q-composition", unit="score above chance", axes=("label",), lower=-1.0, upper=1.0,
    source=f"{PAPER}, 'Two-Layer Attention-Only Transformers'", undefined=NOTHING,
)  # fmt: skip
def q_composition(W_Q: ByHeadIn, W_K: ByHeadIn, W_V: ByHeadIn, W_O: ByHeadOut, ln1_w: Gain) -> ByPair:
    """Does a later head's query read what an earlier head writes?

    **Definition.** ||W_OV W_QK||_F / (||W_OV||_F ||W_QK||_F) - 1/sqrt(d_model), with W_OV = W_V W_O of the earlier
    head and W_QK = W_Q W_K^T of the later one.

    **Reads.** `W_Q`, `W_K` of the later layer, `W_V`, `W_O` of the earlier one; `ln1_w`, folded in.

    **Returns** "L0H3 > L1H2" -> score: 0 for random matrices, whatever their rank; at most 1 - 1/sqrt(d_model). Pairs
    within one layer have none. NaN where a matrix is zero.

    **Source.** Elhage et al. 2021. Departures: the expectation for Gaussian factors, 1/sqrt(d_model), in place of an
    empirical one; with rotary positions W_QK is that of distance 0.

    **Example.** See `tests/test_metric_composition.py`: projectors onto one subspace of r dimensions give 1/sqrt(r).
    """
    queries, keys = _folded(W_Q, ln1_w), _folded(W_K, ln1_w)
    return _compositions(_folded(W_V, ln1_w), W_O.double(), queries, keys.transpose(-1, -2))


@metric(
    title="K-composition", unit="score above chance", axes=("label",), lower=-1.0, upper=1.0,
    source=f"{PAPER}, 'Two-Layer Attention-Only Transformers'", undefined=NOTHING,
)  # fmt: skip
def k_composition(W_Q: ByHeadIn, W_K: ByHeadIn, W_V: ByHeadIn, W_O: ByHeadOut, ln1_w: Gain) -> ByPair:
    """Does a later head's key read what an earlier head writes, as an induction head's does?

    **Definition.** ||W_OV W_QK^T||_F / (||W_OV||_F ||W_QK||_F) - 1/sqrt(d_model), with W_OV of the earlier head and
    W_QK of the later one.

    **Reads.** `W_Q`, `W_K` of the later layer, `W_V`, `W_O` of the earlier one; `ln1_w`, folded in.

    **Returns** "L0H3 > L1H2" -> score, as `q_composition`.

    **Source.** Elhage et al. 2021. Departures: as `q_composition`.

    **Example.** See `tests/test_metric_composition.py`.
    """
    queries, keys = _folded(W_Q, ln1_w), _folded(W_K, ln1_w)
    return _compositions(_folded(W_V, ln1_w), W_O.double(), keys, queries.transpose(-1, -2))


@metric(
    title="V-composition", unit="score above chance", axes=("label",), lower=-1.0, upper=1.0,
    source=f"{PAPER}, 'Two-Layer Attention-Only Transformers'", undefined=NOTHING,
)  # fmt: skip
def v_composition(W_V: ByHeadIn, W_O: ByHeadOut, ln1_w: Gain) -> ByPair:
    """Does a later head move on what an earlier head writes?

    **Definition.** ||W_OV1 W_OV2||_F / (||W_OV1||_F ||W_OV2||_F) - 1/sqrt(d_model), 1 the earlier head, 2 the later.

    **Reads.** `W_V`, `W_O` of both layers; `ln1_w`, folded in.

    **Returns** "L0H3 > L1H2" -> score, as `q_composition`.

    **Source.** Elhage et al. 2021. Departures: as `q_composition`.

    **Example.** See `tests/test_metric_composition.py`.
    """
    values = _folded(W_V, ln1_w)
    return _compositions(values, W_O.double(), values, W_O.double())


def _folded(weight: ByHeadIn, gain: Gain) -> ByHeadIn:
    """The matrix with the gain of the norm that it reads through."""
    return gain.double()[:, None, :, None] * weight.double()


def _compositions(first_in: ByHeadIn, first_out: ByHeadOut, then_in: ByHeadIn, then_out: ByHeadOut) -> ByPair:
    """The score of every head with every head of a later layer, `first_in first_out then_in then_out` by its norm.

    ||A M B||_F^2 = tr(M^T (A^T A) M (B B^T)), so the matrices of d_model x d_model are never formed.
    """
    n_layers, n_heads, d_model, _ = first_in.shape
    left = first_in.transpose(-1, -2) @ first_in  # A^T A, [n_layers n_heads d_head d_head]
    right = then_out @ then_out.transpose(-1, -2)  # B B^T
    first = (left * (first_out @ first_out.transpose(-1, -2))).sum((-1, -2)).sqrt()
    then = (right * (then_in.transpose(-1, -2) @ then_in)).sum((-1, -2)).sqrt()
    scores = {}
    for later in range(1, n_layers):
        for earlier in range(later):
            # [first head, then head, d_head, d_head]
            middle = first_out[earlier][:, None] @ then_in[later][None]
            squares = (middle * (left[earlier][:, None] @ middle @ right[later][None])).sum((-1, -2))
            ratio = squares.clamp(min=0).sqrt() / (first[earlier][:, None] * then[later]) - d_model**-0.5
            for i, j in torch.cartesian_prod(torch.arange(n_heads), torch.arange(n_heads)).tolist():
                scores[f"L{earlier}H{i} > L{later}H{j}"] = ratio[i, j]
    return scores
