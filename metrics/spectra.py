"""The spectrum of every weight matrix in a number: its rank in several senses, its shape, its tail.

A matrix is a parameter as the model stores it: where query, key and value are one fused parameter, its spectrum is
that of the three together. Each metric says which power of the singular values it takes as weights; two numbers of
one name but other powers do not compare.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric
from metrics.spectrum import Spectra, by_matrix, entropy, power_law

ByMatrix = dict[str, Float[Tensor, ""]]
NOTHING = "a matrix is zero or a weight is not finite"


@metric(
    title="Stable rank", unit="dimensions", axes=("label",), lower=1.0, undefined=NOTHING,
    source="Rudelson and Vershynin 2007; WeightWatcher, RMT_Util.stable_rank",
)  # fmt: skip
def stable_rank(spectra: Spectra) -> ByMatrix:
    """Over how many directions is a matrix's energy spread, measured by its strongest?

    **Definition.** sum of squared singular values over the largest squared: ||W||_F^2 / ||W||_2^2.

    **Reads.** `spectra`, name -> singular values [rank].

    **Returns** name -> 1..rank. NaN for a zero matrix or weights that are not finite.

    **Source.** Rudelson and Vershynin 2007, who call it the numerical rank; WeightWatcher.

    **Example.** Singular values 2 and 1: (4 + 1) / 4.

    >>> stable_rank({"W": torch.tensor([2.0, 1.0])})
    {'W': tensor(1.2500)}
    """
    return by_matrix(spectra, lambda sv: sv.square().sum() / sv[0].square())


@metric(
    title="Effective rank", unit="dimensions", axes=("label",), lower=1.0, undefined=NOTHING,
    source="Roy and Vetterli 2007, 'The Effective Rank: A Measure of Effective Dimensionality', definition 1",
)  # fmt: skip
def effective_rank(spectra: Spectra) -> ByMatrix:
    """Over how many directions are a matrix's singular values spread?

    **Definition.** exp of the entropy of p = sigma / sum sigma. With squares in place of sigma:
    `effective_rank_of_squares`.

    **Reads.** `spectra`, name -> singular values [rank].

    **Returns** name -> 1..rank, rank where all are alike. NaN for a zero matrix or weights that are not finite.

    **Source.** Roy and Vetterli 2007, definition 1.

    **Example.** Singular values 2 and 1: shares of 2/3 and 1/3 have an entropy of 0.6365 nats.

    >>> effective_rank({"W": torch.tensor([2.0, 1.0])})
    {'W': tensor(1.8899)}
    """
    return by_matrix(spectra, lambda sv: entropy(sv / sv.sum()).exp())


@metric(
    title="Effective rank of squares", unit="dimensions", axes=("label",), lower=1.0, undefined=NOTHING,
    source="Roy and Vetterli 2007 with squared singular values, as used for covariances",
)  # fmt: skip
def effective_rank_of_squares(spectra: Spectra) -> ByMatrix:
    """Over how many directions is a matrix's energy spread, by entropy?

    **Definition.** exp of the entropy of p = sigma^2 / sum sigma^2. Smaller than `effective_rank`, which takes sigma.

    **Reads.** `spectra`, name -> singular values [rank].

    **Returns** name -> 1..rank. NaN for a zero matrix or weights that are not finite.

    **Source.** Roy and Vetterli 2007, definition 1. Departure: squares, as in papers that apply it to eigenvalues of
    a covariance. Both are called effective rank.

    **Example.** Singular values 2 and 1: shares of 4/5 and 1/5.

    >>> effective_rank_of_squares({"W": torch.tensor([2.0, 1.0])})
    {'W': tensor(1.6494)}
    """
    return by_matrix(spectra, lambda sv: entropy(sv.square() / sv.square().sum()).exp())


@metric(
    title="Participation ratio", unit="dimensions", axes=("label",), lower=1.0, undefined=NOTHING,
    source="Gao et al. 2017, 'A theory of multineuronal dimensionality'",
)  # fmt: skip
def participation_ratio(spectra: Spectra) -> ByMatrix:
    """Over how many directions is a matrix's energy spread, by the inverse of its concentration?

    **Definition.** (sum lambda)^2 / sum lambda^2 with lambda = sigma^2.

    **Reads.** `spectra`, name -> singular values [rank].

    **Returns** name -> 1..rank. NaN for a zero matrix or weights that are not finite.

    **Source.** Gao et al. 2017. Departure: of a weight matrix, where the paper has a covariance of activities.

    **Example.** Singular values 2 and 1: 25 / 17.

    >>> participation_ratio({"W": torch.tensor([2.0, 1.0])})
    {'W': tensor(1.4706)}
    """
    return by_matrix(spectra, lambda sv: sv.square().sum().square() / sv.pow(4).sum())


@metric(
    title="Matrix entropy", unit="fraction", axes=("label",), lower=0.0, upper=1.0,
    undefined=f"{NOTHING}, or a matrix has a single singular value",
    source="WeightWatcher, RMT_Util.matrix_entropy",
)  # fmt: skip
def matrix_entropy(spectra: Spectra) -> ByMatrix:
    """How evenly is a matrix's energy spread, whatever its size?

    **Definition.** The entropy of p = sigma^2 / sum sigma^2 over ln(number of singular values).

    **Reads.** `spectra`, name -> singular values [rank].

    **Returns** name -> 0..1: 0 for one direction, 1 for all alike. NaN for a zero matrix, a single singular value or
    weights that are not finite.

    **Source.** WeightWatcher, matrix_entropy. Departure: divided by the logarithm of the full rank, where
    WeightWatcher counts the singular values above a tolerance, which is ill-defined at rank one.

    **Example.** Two alike:

    >>> matrix_entropy({"W": torch.tensor([1.0, 1.0])})
    {'W': tensor(1.)}
    """
    return by_matrix(
        spectra, lambda sv: entropy(sv.square() / sv.square().sum()) / (math.log(len(sv)) or float("nan"))
    )


@metric(
    title="Spectral norm", unit="weight", axes=("label",), lower=0.0, undefined="a weight is not finite",
    source="largest singular value",
)  # fmt: skip
def spectral_norm(spectra: Spectra) -> ByMatrix:
    """By how much does a matrix stretch its strongest direction?

    **Definition.** The largest singular value.

    **Reads.** `spectra`, name -> singular values [rank].

    **Returns** name -> >= 0. NaN where a weight is not finite.

    **Source.** The usual operator norm. WeightWatcher's `log_spectral_norm` is the base-10 logarithm of its square.

    **Example.**

    >>> spectral_norm({"W": torch.tensor([2.0, 1.0])})
    {'W': tensor(2.)}
    """
    return {name: sv[0] for name, sv in spectra.items() if len(sv)}


@metric(
    title="Condition number", unit="ratio", axes=("label",), lower=1.0,
    undefined="a matrix is singular to within rounding, or a weight is not finite",
    source="largest over smallest singular value",
)  # fmt: skip
def condition_number(spectra: Spectra) -> ByMatrix:
    """How near is a matrix to losing a direction?

    **Definition.** The largest over the smallest singular value.

    **Reads.** `spectra`, name -> singular values [rank].

    **Returns** name -> >= 1. NaN where the smallest is below 1e-7 of the largest, which the spectra do not resolve,
    and where a weight is not finite.

    **Source.** The usual 2-norm condition number.

    **Example.**

    >>> condition_number({"W": torch.tensor([2.0, 1.0]), "V": torch.tensor([2.0, 0.0])})
    {'W': tensor(2.), 'V': tensor(nan)}
    """
    return by_matrix(spectra, lambda sv: torch.where(sv[-1] > 1e-7 * sv[0], sv[0] / sv[-1], float("nan")))


@metric(
    title="Power-law exponent of the spectrum", unit="exponent", axes=("label",), lower=1.0,
    undefined="a matrix has fewer than ten positive singular values, or equal ones",
    source="Martin and Mahoney 2021, 'Implicit Self-Regularization in Deep Neural Networks'; WeightWatcher's alpha",
)  # fmt: skip
def power_law_alpha(spectra: Spectra) -> ByMatrix:
    """How heavy is the tail of a matrix's spectrum?

    **Definition.** The exponent alpha of the power law x^-alpha that fits the largest eigenvalues x = sigma^2 best,
    by maximum likelihood above the x_min with the smallest Kolmogorov-Smirnov distance (`power_law_ks`).

    **Reads.** `spectra`, name -> singular values [rank].

    **Returns** name -> > 1, smaller for a heavier tail. A random matrix has no power law and yet gets an exponent:
    read it beside its distance. NaN with fewer than ten positive singular values.

    **Source.** Martin and Mahoney 2021 and WeightWatcher, whose rule of thumb is 2 < alpha < 6 for well-trained
    layers. Departures: a tail of at least ten eigenvalues; every x_min is tried.

    **Example.** See `tests/test_metric_spectra.py`: a Pareto spectrum returns its exponent.
    """
    return {name: _fit(sv)[0] for name, sv in spectra.items()}


@metric(
    title="Distance from a power law", unit="probability", axes=("label",), lower=0.0, upper=1.0,
    undefined="a matrix has fewer than ten positive singular values, or equal ones",
    source="Clauset, Shalizi and Newman 2009, 'Power-Law Distributions in Empirical Data', section 3.3",
)  # fmt: skip
def power_law_ks(spectra: Spectra) -> ByMatrix:
    """How far is a matrix's spectrum from the power law that `power_law_alpha` fits?

    **Definition.** The largest distance between the tail's cumulative shares and those of the fitted power law.

    **Reads.** `spectra`, name -> singular values [rank].

    **Returns** name -> 0..1, 0 for a perfect fit. NaN with fewer than ten positive singular values.

    **Source.** Clauset, Shalizi and Newman 2009, section 3.3.

    **Example.** See `tests/test_metric_spectra.py`: near 0 for a Pareto spectrum, far from it for an even one.
    """
    return {name: _fit(sv)[1] for name, sv in spectra.items()}


def _fit(sv: Float[Tensor, " rank"]) -> tuple[Tensor, Tensor]:
    alpha, distance = power_law(sv.square())
    return torch.tensor(alpha, dtype=torch.float64), torch.tensor(distance, dtype=torch.float64)
