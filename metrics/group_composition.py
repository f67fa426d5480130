"""What a network that composes permutations computes with: irreducible representations (Chughtai et al. 2023).

All read the logits of every pair (a, b), a-major, after the last token; the logit of '=' is dropped. Representations
are named by partitions, see `metrics/symmetric_group.py`. For other operations the values are NaN.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metrics.contract import metric
from metrics.fourier import answer_loss, neuron_logit_map, number_logits
from metrics.symmetric_group import characters, isotypic, letters_of, quotients

PAPER = "Chughtai, Chan and Nanda 2023, 'A Toy Model of Universality'"
OTHER = "the operation is not composition in a symmetric group, or a logit is not finite"
KEY = "key"
Logits = Float[Tensor, "pair pos d_vocab"]
WUFinal = Float[Tensor, "d_model d_vocab"]
WOutFinal = Float[Tensor, "n_layers d_mlp d_model"]


@metric(
    title="Restricted loss by irreducible representation", unit="nats", task="modular_addition", axes=("label",),
    lower=0.0, per_example=False, source=f"{PAPER}, section on ablations", undefined=OTHER,
)  # fmt: skip
def restricted_loss_by_irrep(
    logits: Logits, answer: Int[Tensor, " pair"], p: int, W_U_final: WUFinal, W_out_final: WOutFinal
) -> dict[str, Tensor]:
    """How good is the part of the network that computes with one representation, on its own?

    **Definition.** The cross-entropy over all pairs after keeping, of the logits as functions of the pair, only what
    the matrix elements of rho(a b) span, plus the mean logit of each element: for each irreducible representation rho
    but the trivial one, and for all key ones together (rule: `key_irrep`).

    **Reads.** `logits` [pair pos d_vocab]; `answer` [pair], which says what the group is; `p`, its order;
    `W_U_final`, `W_out_final` for the key representations of the last checkpoint.

    **Returns** label (a partition, or "key") to nats, >= 0; chance is ln p. NaN for another operation.

    **Source.** Chughtai et al. 2023, who carry the restricted loss of Nanda et al. 2023 over from frequencies to
    representations. They restrict where the MLP writes; this is the same on logits, as `restricted_loss`.

    **Example.** See `tests/test_metric_group_composition.py`: a character alone keeps its loss.
    """
    n = letters_of(p, answer)
    if n is None:
        return {KEY: torch.tensor(torch.nan)}
    ours, parts = number_logits(logits, p), _parts(logits, answer, n, p)
    parts[KEY] = _sum(parts, _key(W_U_final, W_out_final, n, p))
    return {name: answer_loss(part + ours.mean(0), answer).mean() for name, part in parts.items()}


@metric(
    title="Excluded loss by irreducible representation", unit="nats", task="modular_addition", axes=("label",),
    lower=0.0, per_example=False, source=f"{PAPER}, section on ablations", undefined=OTHER,
)  # fmt: skip
def excluded_loss_by_irrep(
    logits: Logits, answer: Int[Tensor, " pair"], train: Bool[Tensor, " pair"], p: int,
    W_U_final: WUFinal, W_out_final: WOutFinal,
) -> dict[str, Tensor]:  # fmt: skip
    """How much does the network rely on each representation for the pairs that it was trained on?

    **Definition.** The cross-entropy over the training pairs after removing from the logits what the matrix elements
    of rho(a b) span: for each irreducible representation rho but the trivial one, and for all key ones together.

    **Reads.** `logits` [pair pos d_vocab]; `answer`, `train` [pair]; `p`; `W_U_final`, `W_out_final` for the key
    representations of the last checkpoint (rule: `key_irrep`).

    **Returns** label (a partition, or "key") to nats, >= 0. NaN for another operation.

    **Source.** Chughtai et al. 2023, after Nanda et al. 2023; on the logits and the training pairs, as
    `excluded_loss`.

    **Example.** See `tests/test_metric_group_composition.py`: without its character a network is at chance.
    """
    n = letters_of(p, answer)
    if n is None:
        return {KEY: torch.tensor(torch.nan)}
    ours, parts = number_logits(logits, p), _parts(logits, answer, n, p)
    parts[KEY] = _sum(parts, _key(W_U_final, W_out_final, n, p))
    return {name: answer_loss(ours - part, answer)[train].mean() for name, part in parts.items()}


@metric(
    title="Logit variance explained by characters", unit="fraction", task="modular_addition", axes=("label",),
    lower=0.0, upper=1.0, per_example=False, source=f"{PAPER}, section on logit attribution", undefined=OTHER,
)  # fmt: skip
def character_variance_explained(logits: Logits, answer: Int[Tensor, " pair"], p: int) -> dict[str, Tensor]:
    """How much of what the network says are characters of the answer's distance from each element?

    **Definition.** The share of the sum of squares of the logits, less each pair's mean, that
    chi_rho(a b c^-1) explains with its least-squares height, over all pairs and elements c: for each irreducible
    representation but the trivial one, and for all of these together ("all"; they are orthogonal).

    **Reads.** `logits` [pair pos d_vocab]; `answer` [pair]; `p`, the order of the group.

    **Returns** label (a partition, or "all") to 0..1. NaN for another operation or logits that do not vary.

    **Source.** Chughtai et al. 2023, whose algorithm gives the logit of c as the trace of rho(a b c^-1). The mean of
    each pair, to which the softmax is blind, is taken out here.

    **Example.** See `tests/test_metric_group_composition.py`: planted characters give 1.
    """
    n = letters_of(p, answer)
    if n is None:
        return {"all": torch.tensor(torch.nan)}
    ours = number_logits(logits, p)
    centred = ours - ours.mean(1, keepdim=True)
    total = centred.square().sum()
    # Equal logits leave rounding errors of their mean, which are no variance to explain.
    total = total.where(total > 1e-20 * ours.square().sum(), torch.nan)
    by_product = _by_product(centred, answer, p)
    heights = {
        name: (by_product * character[quotients(n)].to(ours.device)).sum() * p
        for name, character in _beyond_trivial(n).items()
    }
    # Over all pairs and elements a character's square sums to the cube of the order.
    shares = {name: height.square() / p**3 / total for name, height in heights.items()}
    return shares | {"all": torch.stack(list(shares.values())).sum()}


@metric(
    title="Key representation (its part of W_L, a dimension, above a quarter of the largest, at the last checkpoint)",
    unit="indicator", task="modular_addition", axes=("label",), lower=0.0, upper=1.0, per_example=False, source=PAPER,
    undefined=OTHER,
)  # fmt: skip
def key_irrep(
    answer: Int[Tensor, " pair"], p: int, W_U_final: WUFinal, W_out_final: WOutFinal
) -> dict[str, Tensor]:
    """Which irreducible representations does the trained network compute with?

    **Definition.** 1 where the norm of the representation's part of the neuron-logit map W_L = W_out W_U, as a
    function of the element, divided by the representation's dimension d (the part has d^2 dimensions), is above a
    quarter of the largest such; the trivial representation is left out.

    **Reads.** `answer` [pair]; `p`; `W_U_final`, `W_out_final` of the last checkpoint.

    **Returns** label (a partition) to 1 or 0. NaN for another operation.

    **Source.** Chughtai et al. 2023 name key representations from their share of embeddings, neurons and logits and
    give no threshold; the rule is ours, the one of `key_frequency` for any group.

    **Example.** See `tests/test_metric_group_composition.py`.
    """
    n = letters_of(p, answer)
    if n is None:
        return {KEY: torch.tensor(torch.nan)}
    keys = _key(W_U_final, W_out_final, n, p)
    return {name: torch.tensor(float(name in keys), dtype=torch.float64) for name in _beyond_trivial(n)}


def _beyond_trivial(n: int) -> dict[str, Float[Tensor, " g"]]:
    return {name: character for name, character in characters(n).items() if name != str(n)}


def _by_product(logits: Float[Tensor, "pair p"], answer: Int[Tensor, " pair"], p: int) -> Float[Tensor, "g p"]:
    """The mean of the logits over the pairs of each product: their part that is a function of a b alone."""
    return torch.zeros(p, p, dtype=logits.dtype, device=logits.device).index_add(0, answer, logits) / p


def _parts(logits: Logits, answer: Int[Tensor, " pair"], n: int, p: int) -> dict[str, Float[Tensor, "pair p"]]:
    """The part of the logits, as functions of the pair, that the matrix elements of each rho(a b) span."""
    by_product = _by_product(number_logits(logits, p), answer, p)
    return {name: isotypic(by_product, n, name)[answer] for name in _beyond_trivial(n)}


def _sum(parts: dict[str, Float[Tensor, "pair p"]], keys: list[str]) -> Float[Tensor, "pair p"]:
    return torch.stack([parts[name] for name in keys]).sum(0)


def _key(w_u: WUFinal, w_out: WOutFinal, n: int, p: int) -> list[str]:
    written = neuron_logit_map(w_u, w_out[-1], p)
    norms = {name: float(isotypic(written, n, name).norm() / character[0])
             for name, character in _beyond_trivial(n).items()}  # fmt: skip
    return [name for name, norm in norms.items() if norm > max(norms.values()) / 4]
