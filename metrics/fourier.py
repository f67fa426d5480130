"""Shared maths of modular addition: the Fourier basis over Z_p and what is projected on it. Registers no metric."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def fourier_basis(p: int) -> Float[Tensor, "p p"]:
    """Orthonormal rows: the constant, then cos and sin of 2 pi k x / p for k = 1 .. (p - 1) / 2 (p odd).

    >>> basis = fourier_basis(5)
    >>> bool(torch.allclose(basis @ basis.T, torch.eye(5, dtype=torch.float64)))
    True
    """
    if p < 3 or p % 2 == 0:
        msg = f"the modulus is {p}; the Fourier basis here is for odd p >= 3"
        raise ValueError(msg)
    angle = 2 * math.pi * torch.arange(p, dtype=torch.float64) / p
    rows = [torch.ones(p, dtype=torch.float64)]
    for k in range(1, (p - 1) // 2 + 1):
        rows += [torch.cos(k * angle), torch.sin(k * angle)]
    basis = torch.stack(rows)
    return basis / basis.norm(dim=1, keepdim=True)


def fourier_norms(matrix: Float[Tensor, "p d"]) -> Float[Tensor, " p"]:
    """The norm of each Fourier component of a matrix whose rows are indexed by the numbers 0 .. p-1."""
    return (fourier_basis(matrix.shape[0]).to(matrix.device) @ matrix.double()).norm(dim=1)


def sum_directions(p: int, frequency: int) -> Float[Tensor, "2 p_squared"]:
    """The two orthonormal directions over all pairs (a, b), a-major, that depend on a + b at one frequency:
    normalised cos and sin of 2 pi k (a + b) / p."""
    number = torch.arange(p, dtype=torch.float64)
    angle = 2 * math.pi * frequency * (number[:, None] + number[None, :]).flatten() / p
    directions = torch.stack([torch.cos(angle), torch.sin(angle)])
    return directions / directions.norm(dim=1, keepdim=True)


def key_frequencies(w_u: Float[Tensor, "d_model d_vocab"], w_out: Float[Tensor, "d_mlp d_model"], p: int) -> list[int]:
    """The frequencies that the trained network computes with.

    Rule: the Fourier components of the neuron-logit map W_L = W_out W_U over the output numbers; the norm of a
    frequency joins its cosine and sine; a key frequency's norm is above a quarter of the largest.
    """
    key = stands_out(by_frequency(fourier_norms(neuron_logit_map(w_u, w_out, p))))
    return [int(k) + 1 for k in key.nonzero().flatten()]


def stands_out(norms: Float[Tensor, " frequency"]) -> Bool[Tensor, " frequency"]:
    """Which norms are above a quarter of the largest."""
    return norms > norms.max() / 4


def neuron_logit_map(
    w_u: Float[Tensor, "d_model d_vocab"], w_out: Float[Tensor, "d_mlp d_model"], p: int
) -> Float[Tensor, "p d_mlp"]:
    """W_L: the direct effect of each neuron on the logit of each number."""
    return (w_out.double() @ w_u.double()[:, :p]).T


def gini(values: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """The Gini coefficient of non-negative values (Hurley and Rickard 2009): 0 when equal, 1 - 1/n when one holds all.

    NaN when all are 0: nothing is shared out.

    >>> gini(torch.tensor([0.0, 0.0, 0.0, 2.0]))
    tensor(0.7500, dtype=torch.float64)
    >>> gini(torch.ones(4))
    tensor(0., dtype=torch.float64)
    """
    ordered = values.double().sort().values
    n = len(ordered)
    rank = torch.arange(1, n + 1, dtype=torch.float64, device=ordered.device)
    return 1 - 2 * (ordered / ordered.sum() * (n - rank + 0.5) / n).sum()


def number_logits(logits: Float[Tensor, "pair pos d_vocab"], p: int) -> Float[Tensor, "pair p"]:
    """The logits of the numbers at the last position that the task reads, in float64."""
    return logits[:, -1, :p].double()


def answer_loss(logits: Float[Tensor, "pair p"], answer: Int[Tensor, " pair"]) -> Float[Tensor, " pair"]:
    """The cross-entropy of each pair."""
    return -logits.log_softmax(-1).gather(-1, answer[:, None]).squeeze(-1)


def sum_component(logits: Float[Tensor, "pair p"], frequencies: list[int], p: int) -> Float[Tensor, "pair p"]:
    """The part of the logits, as functions of the pair, along cos and sin of w_k (a + b)."""
    directions = torch.cat([sum_directions(p, k) for k in frequencies]).to(logits.device)
    return directions.T @ (directions @ logits)


def answer_cosine(p: int, frequency: int) -> Float[Tensor, "pair p"]:
    """cos(2 pi k (a + b - c) / p) for every pair, a-major, and every number c: not normalised, its height is 1."""
    return torch.cos(2 * math.pi * frequency * torch.arange(p, dtype=torch.float64) / p)[answer_distance(p)]


def answer_distance(p: int) -> Int[Tensor, "pair p"]:
    """(a + b - c) mod p for every pair, a-major, and every number c."""
    number = torch.arange(p)
    return ((number[:, None, None] + number[None, :, None] - number[None, None, :]) % p).flatten(0, 1)


def by_frequency(norms: Float[Tensor, " p"]) -> Float[Tensor, " frequency"]:
    """The norm of each frequency, cosine and sine together, from the norms of the p components."""
    return (norms[1::2].square() + norms[2::2].square()).sqrt()


def neuron_variance_by_frequency(
    mlp_post: Float[Tensor, "pair pos d_mlp"], p: int
) -> Float[Tensor, "frequency d_mlp"]:
    """The share of each neuron's variance at each frequency; NaN for a neuron that never varies."""
    basis = fourier_basis(p).to(mlp_post.device)
    grid = mlp_post[:, -1].double().unflatten(0, (p, p))
    # One side after the other: both at once would multiply p^4 products.
    energy = torch.einsum("xa,ayn->xyn", basis, torch.einsum("yb,abn->ayn", basis, grid)).square()
    # [frequency_a frequency_b neuron]: cosine and sine of a frequency together, the constant first.
    of_a = torch.cat([energy[:1], energy[1::2] + energy[2::2]])
    pairs = torch.cat([of_a[:, :1], of_a[:, 1::2] + of_a[:, 2::2]], 1)
    at = torch.arange(1, pairs.shape[0], device=pairs.device)
    total = pairs.sum((0, 1)) - pairs[0, 0]
    # A neuron that is constant leaves rounding errors of its mean; they are no variance to explain.
    total = total.where(total > 1e-12 * pairs.sum((0, 1)), torch.nan)
    return (pairs[0, at] + pairs[at, 0] + pairs[at, at]) / total
