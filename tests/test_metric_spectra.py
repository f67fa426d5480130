"""Spectra in a number: by hand, against numpy and scipy, under what must not matter, and where they are undefined."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from metrics.spectra import (
    condition_number,
    effective_rank,
    effective_rank_of_squares,
    matrix_entropy,
    participation_ratio,
    power_law_alpha,
    power_law_ks,
    spectral_norm,
    stable_rank,
)
from metrics.spectrum import Spectra, singular_values, spectra
from tiny_models import tiny_model

RANKS: list[Callable[[Spectra], dict[str, Tensor]]] = [
    stable_rank, effective_rank, effective_rank_of_squares, participation_ratio,
]  # fmt: skip
ALL = [*RANKS, matrix_entropy, spectral_norm, condition_number, power_law_alpha, power_law_ks]


def of(*values: float) -> Spectra:
    return {"W": torch.tensor(values, dtype=torch.float64)}


def test_singular_values_are_numpys() -> None:
    found = spectra(dict(tiny_model("gpt_neox").named_parameters()))
    for name, tensor in tiny_model("gpt_neox").named_parameters():
        if tensor.ndim < 2:
            assert name not in found
            continue
        expected = np.linalg.svd(tensor.double().numpy(), compute_uv=False)
        np.testing.assert_allclose(found[name].numpy(), expected, atol=1e-7)


def test_a_stack_of_matrices_is_that_many_spectra() -> None:
    stack = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
    found = spectra({"W_Q": stack, "b": torch.ones(4)})
    assert list(found) == ["W_Q.0", "W_Q.1", "W_Q.2"]
    torch.testing.assert_close(found["W_Q.1"], torch.linalg.svdvals(stack[1].double()))


def test_singular_values_two_and_one() -> None:
    expected = {stable_rank: 1.25, effective_rank: 1.8899, effective_rank_of_squares: 1.6494,
                participation_ratio: 25 / 17, spectral_norm: 2, condition_number: 2}  # fmt: skip
    for metric, value in expected.items():
        assert float(metric(of(2, 1))["W"]) == pytest.approx(value, abs=5e-5)
    assert float(matrix_entropy(of(2, 1))["W"]) == pytest.approx(scipy.stats.entropy([0.8, 0.2]) / math.log(2))


@pytest.mark.parametrize("metric", RANKS)
def test_every_rank_is_d_for_the_identity_and_one_for_one_direction(metric: Callable[..., dict[str, Tensor]]) -> None:
    assert float(metric(spectra({"W": 3 * torch.eye(7)}))["W"]) == pytest.approx(7)
    one = torch.outer(torch.arange(1.0, 5), torch.ones(3))
    assert float(metric(spectra({"W": one}))["W"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("metric", [*RANKS, matrix_entropy, condition_number])
def test_scale_and_rotation_do_not_matter(metric: Callable[..., dict[str, Tensor]]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    plain, turned = metric(spectra({"W": matrix}))["W"], metric(spectra({"W": -5 * rotation @ matrix}))["W"]
    torch.testing.assert_close(plain, turned)


def pareto(exponent: float, n: int = 2000) -> Spectra:
    """Singular values whose squares are the n middle quantiles of a density x^-exponent from 1 up."""
    share = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return {"W": (1 - share).pow(-1 / (exponent - 1)).sqrt().flip(0)}


@pytest.mark.parametrize("exponent", [2.0, 3.0, 4.5])
def test_a_pareto_spectrum_returns_its_exponent(exponent: float) -> None:
    assert float(power_law_alpha(pareto(exponent, 300))["W"]) == pytest.approx(exponent, rel=0.05)
    assert float(power_law_ks(pareto(exponent, 300))["W"]) < 0.02


def test_the_fit_is_scipys_where_x_min_is_the_smallest() -> None:
    """Maximum likelihood of a Pareto density with known scale, whose shape is alpha - 1."""
    spectrum = pareto(3.0, 300)
    x = spectrum["W"].square().numpy()
    shape, _, _ = scipy.stats.pareto.fit(x, floc=0, fscale=x.min())
    assert float(power_law_alpha(spectrum)["W"]) == pytest.approx(1 + shape, rel=0.05)


def test_an_even_spectrum_is_no_power_law() -> None:
    """Eigenvalues spread evenly over 1 .. 2: the distance is several times that of a Pareto spectrum."""
    even = {"W": torch.linspace(1, 2, 300, dtype=torch.float64).sqrt().flip(0)}
    assert float(power_law_ks(even)["W"]) > 3 * float(power_law_ks(pareto(3.0, 300))["W"])


def test_what_has_no_answer_is_nan() -> None:
    for metric in (*RANKS, matrix_entropy, condition_number):
        assert metric(spectra({"W": torch.zeros(3, 4)}))["W"].isnan()
    for metric in ALL:
        assert metric(spectra({"W": torch.tensor([[1.0, float("inf")], [0.0, 1.0]])}))["W"].isnan()
    assert matrix_entropy(of(3))["W"].isnan()
    assert condition_number(of(1, 1e-9))["W"].isnan()
    assert power_law_alpha(of(3, 2, 1))["W"].isnan()
    assert power_law_alpha(of(*[1.0] * 20))["W"].isnan()
    assert float(spectral_norm(of(0, 0))["W"]) == 0


def test_inputs_are_left_as_they_are() -> None:
    matrix = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    before, spectrum = matrix.clone(), pareto(3.0, 20)
    values = spectrum["W"].clone()
    singular_values(matrix)
    for metric in ALL:
        metric(spectrum)
    assert torch.equal(matrix, before)
    assert torch.equal(spectrum["W"], values)
