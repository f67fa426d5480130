"""The residual stream's shape and similarity: by hand, against other implementations, invariances, chance, gaps."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

import dynamics
from dynamics import references
from metrics import METRICS, similarity
from metrics.representation_similarity import (
    cka_between_layers,
    cka_to_final,
    cka_to_previous,
    pwcca_between_layers,
    pwcca_to_final,
    pwcca_to_previous,
    svcca_between_layers,
    svcca_to_final,
)
from metrics.representations import anisotropy, anisotropy_standardised, residual_participation_ratio

SHAPE = [residual_participation_ratio, anisotropy, anisotropy_standardised]
TO_FINAL = [cka_to_final, svcca_to_final, pwcca_to_final]
TO_PREVIOUS = [(cka_to_previous, cka_to_final), (pwcca_to_previous, pwcca_to_final)]
BETWEEN = [cka_between_layers, svcca_between_layers, pwcca_between_layers]


def gaussian(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def site(*layers: Tensor) -> Tensor:
    """Rows of layers as the site gives them, one position an example."""
    return torch.stack(layers, 1)[:, None]


def rotation(d: int) -> Tensor:
    return torch.linalg.qr(gaussian(d, d, seed=7))[0]


# The shape of the cloud.


def test_participation_ratio_is_that_of_the_covariances_eigenvalues() -> None:
    rows = gaussian(200, 6) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 60.0]) + 17
    variances = np.linalg.eigvalsh(np.cov(rows.numpy().T))
    expected = variances.sum() ** 2 / (variances**2).sum()
    assert residual_participation_ratio(site(rows)).tolist() == pytest.approx([expected])


def test_participation_ratio_of_equal_variances_is_what_the_documentation_says() -> None:
    found = float(residual_participation_ratio(site(gaussian(2000, 200))))
    assert found == pytest.approx(200 / (1 + 200 / 2000), rel=0.01)
    assert float(residual_participation_ratio(site(gaussian(2000, 1) @ gaussian(1, 200)))) == pytest.approx(1)


def test_anisotropy_is_the_mean_cosine_of_pairs_from_different_examples() -> None:
    vectors = gaussian(4 * 3, 5).view(4, 3, 1, 5) + 0.5
    cosines = []
    for i in range(4):
        for j in range(4):
            for m, n in np.ndindex(3, 3):
                if i != j:
                    a, b = vectors[i, m, 0].numpy(), vectors[j, n, 0].numpy()
                    cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert anisotropy(vectors).tolist() == pytest.approx([np.mean(cosines)])


def test_one_large_coordinate_makes_a_cone_only_without_standardising() -> None:
    rows = gaussian(400, 20)
    assert anisotropy(site(rows)).abs().max() < 0.01
    rows[:, 3] = 500 + rows[:, 3]
    assert anisotropy(site(rows)) > 0.99
    assert anisotropy_standardised(site(rows)).abs().max() < 0.01


# Similarity.


def biased_cka(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(0), y - y.mean(0)
    return float(np.linalg.norm(x.T @ y) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y))


def hsic_1(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, equation 5, from the matrices of rows by rows."""
    k, m, n = x @ x.T, y @ y.T, len(x)
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    ones = np.ones(n)
    terms = np.trace(k @ m) + (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return (terms - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3))


def numpy_cca(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlations and Morcos' weights by QR decomposition, another route than principal directions."""
    x, y = x - x.mean(0), y - y.mean(0)
    q, p = np.linalg.qr(x)[0], np.linalg.qr(y)[0]
    left, correlations, _ = np.linalg.svd(q.T @ p, full_matrices=False)
    return correlations, np.abs((q @ left).T @ x).sum(1)


def truncated(x: np.ndarray) -> np.ndarray:
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    kept = int(np.searchsorted(np.cumsum(s**2) / (s**2).sum(), 0.99)) + 1
    return u[:, :kept] * s[:kept]


def test_equals_other_implementations() -> None:
    scale = torch.logspace(0, -3, 8, dtype=torch.float64)
    x = gaussian(300, 8) * scale + 3
    y = (x @ gaussian(8, 6, seed=1) + gaussian(300, 6, seed=2)).contiguous()
    wide = torch.cat([y, torch.zeros(300, 2, dtype=torch.float64)], 1)
    ours, theirs = x.numpy(), y.numpy()
    expected = hsic_1(ours, theirs) / math.sqrt(hsic_1(ours, ours) * hsic_1(theirs, theirs))
    assert cka_to_final(site(x), site(wide)).tolist() == pytest.approx([expected], rel=1e-9)
    correlations, carried = numpy_cca(ours, theirs)
    expected = (correlations * carried).sum() / carried.sum()
    assert pwcca_to_final(site(x), site(wide)).tolist() == pytest.approx([expected], rel=1e-6)
    assert truncated(ours).shape[1] < 8  # the test is of a truncated basis
    expected = numpy_cca(truncated(ours), truncated(theirs))[0].mean()
    assert svcca_to_final(site(x), site(wide)).tolist() == pytest.approx([expected], rel=1e-6)


@pytest.mark.parametrize("metric", TO_FINAL)
def test_a_rotation_a_scale_and_a_shift_change_nothing(metric: Callable[..., Tensor]) -> None:
    x = gaussian(300, 8) * torch.linspace(1, 5, 8, dtype=torch.float64)
    assert metric(site(x), site(-3 * x @ rotation(8) + 10)).tolist() == pytest.approx([1.0])


def test_an_invertible_map_changes_cka_and_not_the_canonical_correlations() -> None:
    x = gaussian(300, 8)
    mapped = x @ (torch.diag(torch.logspace(0, 1, 8, dtype=torch.float64)) @ rotation(8))
    assert pwcca_to_final(site(x), site(mapped)).tolist() == pytest.approx([1.0])
    assert float(cka_to_final(site(x), site(mapped))) < 0.9


def test_unrelated_vectors_have_a_debiased_cka_near_0_where_the_usual_one_has_not() -> None:
    x, y = gaussian(200, 100, seed=3), gaussian(200, 100, seed=4)
    assert biased_cka(x.numpy(), y.numpy()) == pytest.approx(0.331, abs=0.01)
    assert abs(float(cka_to_final(site(x), site(y)))) < 0.02
    x, y = gaussian(4000, 20, seed=3), gaussian(4000, 20, seed=4)
    assert abs(float(cka_to_final(site(x), site(y)))) < 0.005


def test_half_of_the_directions_shared_is_a_cka_of_a_half() -> None:
    x = gaussian(4000, 20)
    y = torch.cat([x[:, :10], gaussian(4000, 10, seed=1)], 1)
    assert float(cka_to_final(site(x), site(y))) == pytest.approx(0.5, abs=0.02)
    assert float(pwcca_to_final(site(x), site(y))) == pytest.approx(0.5, abs=0.05)


def test_chance_of_the_canonical_correlations_is_what_the_documentation_derives() -> None:
    """The mean squared correlation of k and l unrelated directions over n positions is max(k, l) / (n - 1)."""
    x, y = gaussian(1001, 50, seed=3), gaussian(1001, 30, seed=4)
    squared = numpy_cca(x.numpy(), y.numpy())[0] ** 2
    assert squared.mean() == pytest.approx(50 / 1000, rel=0.1)
    wide = torch.cat([y, torch.zeros(1001, 20, dtype=torch.float64)], 1)
    assert 0.15 < float(pwcca_to_final(site(x), site(wide))) < math.sqrt(50 / 1000) + 0.01


@pytest.mark.parametrize(("between", "to_final"), list(zip(BETWEEN, TO_FINAL, strict=True)))
def test_between_layers_is_each_pair_of_layers(between: Callable[..., Tensor], to_final: Callable[..., Tensor]) -> None:
    a, b, c = (gaussian(200, 6, seed) for seed in range(3))
    b = b + a
    table = between(site(a, b, c))
    assert table.diagonal().tolist() == pytest.approx([1.0] * 3)
    assert table[0, 1] == pytest.approx(float(to_final(site(a), site(b))))
    assert table[1, 0] == pytest.approx(float(to_final(site(b), site(a))))
    assert table[0, 2] < 0.3 < table[0, 1]


def test_too_few_positions_are_a_gap() -> None:
    x, y = gaussian(16, 8), gaussian(16, 8, seed=1)
    for metric in TO_FINAL[1:]:
        assert metric(site(x), site(y)).isnan().all()  # 8 + 8 directions, 16 - 1 positions
        assert not metric(site(gaussian(17, 8)), site(gaussian(17, 8, seed=1))).isnan().any()
        assert metric(site(gaussian(8, 8)), site(gaussian(8, 8))).isnan().all()  # n <= d
    assert cka_to_final(site(x[:3]), site(y[:3])).isnan().all()


def test_no_variance_and_no_number_are_gaps() -> None:
    same, rows = torch.ones(20, 3, dtype=torch.float64), gaussian(20, 3)
    for metric in TO_FINAL:
        assert metric(site(same), site(rows)).isnan().all()
    assert residual_participation_ratio(site(same)).isnan().all()
    assert anisotropy(site(same)).tolist() == pytest.approx([1.0])
    assert anisotropy(site(rows[:1])).isnan().all()
    assert anisotropy(site(torch.zeros(4, 3))).isnan().all()
    broken = rows.clone()
    broken[3, 1] = math.nan
    for metric in SHAPE:
        assert metric(site(broken)).isnan().all()
    for metric in TO_FINAL:
        assert metric(site(broken), site(rows)).isnan().all()


@pytest.mark.parametrize("metric", [*SHAPE, *TO_FINAL, *BETWEEN])
def test_inputs_are_left_as_they_are(metric: Callable[..., Any]) -> None:
    given = [site(gaussian(40, 4)), site(gaussian(40, 4, seed=1))][: 2 if metric in TO_FINAL else 1]
    before = [value.clone() for value in given]
    metric(*given)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


# Together.


def test_the_last_checkpoint_is_the_one_referred_to(tiny_series: Path, text: Path, tmp_path: Path) -> None:
    names = [known.__name__ for known in (*SHAPE, *TO_FINAL, *BETWEEN)]
    assert set(names) <= set(METRICS)
    settings = dynamics.Settings(tasks={"text": {"path": str(text), "documents": "lines", "length": 12}})
    series = dynamics.open_series(f"folder:{tiny_series}")
    run = dynamics.measure(series, names, out=tmp_path / "run", settings=settings)
    frame = run.measurements()
    assert set(frame["metric"]) == set(names)
    assert frame["value"].null_count() == 0
    for metric in TO_FINAL:
        rows = frame.filter(pl.col("metric") == metric.__name__)
        last = rows.filter(pl.col("step") == 1000)["value"].to_list()
        assert last == pytest.approx([1.0, 1.0], abs=1e-6)
        assert float(rows.filter(pl.col("step") < 1000)["value"].max()) < 0.99  # pyright: ignore


def test_the_final_vectors_are_prepared_once_for_a_series_and_let_go_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    final, made = site(gaussian(40, 6, seed=1), gaussian(40, 6, seed=2)), []
    whole = similarity.Basis.of
    monkeypatch.setattr(similarity.Basis, "of", lambda rows, share=1.0: made.append(share) or whole(rows, share))
    for seed in range(3):
        here = site(gaussian(40, 6, seed=seed + 3), gaussian(40, 6, seed=seed + 9))
        expected = svcca_to_final(here, final.clone())
        made.clear()
        torch.testing.assert_close(svcca_to_final(here, final), expected)
        assert len(made) == (2 if seed else 4)
    before = svcca_to_final(final.clone(), final)
    final[:, :, 0] = gaussian(40, 6, seed=20)[:, None]
    assert svcca_to_final(site(gaussian(40, 6, seed=1), gaussian(40, 6, seed=2)), final)[0] < before[0] - 0.1
    remembered = len(similarity._prepared)
    del final
    gc.collect()
    assert len(similarity._prepared) == remembered - 1


# The checkpoint before.


@pytest.mark.parametrize(("ours", "same"), TO_PREVIOUS)
def test_the_similarity_to_the_checkpoint_before_is_that_to_the_last_with_another_one(
    ours: Callable[..., Tensor], same: Callable[..., Tensor]
) -> None:
    """1 for what did not change, as ever for unrelated vectors, NaN where there is none before; inputs untouched."""
    x, y = (site(gaussian(400, 5, seed=seed), gaussian(400, 5, seed=seed + 1)) for seed in (0, 2))
    kept = x.clone(), y.clone()
    torch.testing.assert_close(ours(x, x), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(ours(x, y), same(x, y))
    assert float(ours(x, y).max()) < 0.2
    assert ours(x, torch.full_like(x, float("nan"))).isnan().all()
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1])


def test_a_series_is_compared_with_the_checkpoint_before_also_when_it_goes_on(
    tiny_series: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pass for each checkpoint; where a run goes on, one more for what was measured earlier; the same numbers."""
    passes: list[int] = []
    whole = references.read_activations
    monkeypatch.setattr(references, "read_activations", lambda *a: passes.append(1) or whole(*a))
    tasks = {"text": {"path": str(text), "documents": "lines", "length": 12, "n_examples": 20}}
    names = [ours.__name__ for ours, _ in TO_PREVIOUS]  # pyright: ignore[reportFunctionMemberAccess]

    def run(folder: str, steps: str) -> pl.DataFrame:
        series = dynamics.open_series(f"folder:{tiny_series}", steps=steps)
        done = dynamics.measure(series, names, out=tmp_path / folder, settings=dynamics.Settings(tasks=tasks))
        return done.measurements().sort("metric", "step", "layer").select("metric", "step", "layer", "value")

    at_once = run("once", "0,10,100")
    assert not passes
    first = at_once.filter(pl.col("step") == at_once["step"].min())
    assert first["value"].is_null().all()
    assert at_once["value"].drop_nulls().is_between(-0.1, 1.0001).all()
    assert at_once["value"].drop_nulls().len() == 2 * 2 * 2
    run("twice", "0,10")
    assert run("twice", "0,10,100").equals(at_once)
    assert len(passes) == 1
