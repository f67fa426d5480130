"""Key frequencies by three rules, clusters of neurons, and the ratio of test to restricted loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dynamics.checkpoint import Files, open_weights
from dynamics.forward import measure_task
from dynamics.model import SeriesModel
from dynamics.tasks import Subject, build_task
from metrics import METRICS, key_frequencies
from metrics.key_frequencies import cluster_variance_explained, key_frequency_by_rule
from test_metric_grokking import NUMBER, P, cosine_logits, pairs, weights_of
from test_metric_grokking_circuit import A, B, neurons, wave

ratio = key_frequencies.test_over_restricted  # under its own name pytest would take it for a test


def embedding_of(*frequencies: int) -> Tensor:
    return torch.cat([torch.stack([wave(k, NUMBER) for k in frequencies], 1), torch.ones(1, len(frequencies))])


def test_each_rule_finds_its_own_frequencies() -> None:
    w_u, w_out = weights_of(2, 5)
    made = neurons(wave(4, A), wave(4, A + B), wave(1, A) + wave(3, B))
    found = key_frequency_by_rule(embedding_of(1, 3), w_u, w_out, made, P)
    assert found.tolist() == [[0, 1, 0, 0, 1], [1, 0, 1, 0, 0], [0, 0, 0, 1, 0]]


def test_a_frequency_below_a_quarter_of_the_largest_is_not_key() -> None:
    w_u, w_out = weights_of(2)
    for share, key in ((0.24, 0), (0.26, 1)):
        embedding = embedding_of(1, 3) * torch.tensor([1.0, share])
        assert key_frequency_by_rule(embedding, w_u, w_out, neurons(wave(4, A)), P)[1, 2] == key


def test_clusters_hold_their_share_of_the_layers_variance() -> None:
    # Variances 1/2, 9/2 and, at two frequencies in halves, 1: of 6 in all, 1/2 and 9/2 are in clusters.
    made = neurons(wave(2, A), 3 * wave(4, B), wave(1, A) + wave(3, B), torch.full_like(A, 7.0))
    assert cluster_variance_explained(made, P).tolist() == pytest.approx([0, 1 / 12, 0, 3 / 4, 0])


def test_noise_gathers_nowhere() -> None:
    noise = torch.randn(P * P, 1, 40, generator=torch.Generator().manual_seed(0))
    assert cluster_variance_explained(noise, P).sum() == 0
    assert key_frequency_by_rule(embedding_of(1), *weights_of(1), noise, P)[2].sum() == 0


def test_the_ratio_by_hand() -> None:
    given, (w_u, w_out) = pairs(), weights_of(3)
    whole = {"p": P, "W_U_final": w_u, "W_out_final": w_out}
    assert float(ratio(torch.zeros(P * P, 1, P + 1), **given, **whole)) == pytest.approx(1)
    assert float(ratio(cosine_logits(3), **given, **whole)) == pytest.approx(1)
    # Memorised: unseen pairs are answered wrong with a margin of 20 beside a wave that alone would do well.
    wrong = torch.zeros(P * P, 1, P + 1).double()
    wrong[~given["train"], 0, (given["answer"][~given["train"]] + 1) % P] = 20.0
    by_heart = ratio(cosine_logits(3) + wrong, **given, **whole)
    assert 10 < float(by_heart) < 60


def test_nothing_to_measure_gives_nan() -> None:
    still = torch.ones(P * P, 1, 3)
    assert cluster_variance_explained(still, P).isnan().all()
    broken = torch.full((P * P, 1, 3), math.nan)
    found = key_frequency_by_rule(embedding_of(1), *weights_of(1), broken, P)
    assert found.isnan().all(1).tolist() == [False, False, True]
    assert cluster_variance_explained(broken, P).isnan().all()
    none = pairs() | {"train": torch.ones(P * P, dtype=torch.bool)}
    w_u, w_out = weights_of(3)
    assert ratio(cosine_logits(3), **none, p=P, W_U_final=w_u, W_out_final=w_out).isnan()


def test_inputs_are_left_as_they_are() -> None:
    w_u, w_out = weights_of(3)
    sites = {"logits": cosine_logits(3), "p": P, "W_U_final": w_u, "W_out_final": w_out, "W_U": w_u, "W_out": w_out,
             "W_E": embedding_of(1, 2), "mlp_post": neurons(wave(1, A))} | pairs()  # fmt: skip
    before = {name: value.clone() for name, value in sites.items() if isinstance(value, Tensor)}
    for metric in METRICS.values():
        if metric.function.__module__ == key_frequencies.__name__:
            metric.function(**{name: sites[name] for name in metric.reads})
    assert all(torch.equal(sites[name], value) for name, value in before.items())


def test_two_rules_agree_on_the_published_network_and_the_embedding_holds_one_more(
    reference_data: Callable[[str], Path],
) -> None:
    folder = reference_data("series/modular-addition-p113")
    model = SeriesModel(open_weights(Files((folder / "50000.pt",))))
    task = build_task("modular_addition", {}, Subject(114, 3, None, None))
    names = ("key_frequency_by_rule", "cluster_variance_explained")
    answers = {name: value for (name, _), value in measure_task(
        model, task, [METRICS[name] for name in names], {}).items()}  # fmt: skip
    found = [{int(k) + 1 for k in row.nonzero()} for row in answers["key_frequency_by_rule"]]
    assert found[0] == found[2] == {14, 35, 41, 42, 52}
    assert found[1] == {14, 31, 35, 41, 42, 52}
    clusters = answers["cluster_variance_explained"]
    assert {int(k) + 1 for k in clusters.nonzero()} == {14, 35, 41, 42, 52}
    assert float(clusters.sum()) == pytest.approx(0.859, abs=1e-3)
