"""The circuit of modular addition: by hand at p = 11, and the published network's numbers at p = 113."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dynamics.checkpoint import Files, open_weights
from dynamics.forward import measure_task
from dynamics.model import SeriesModel
from dynamics.tasks import Subject, build_task
from metrics import METRICS, attention_periodicity, commutativity, grokking_circuit
from metrics.fourier import neuron_variance_by_frequency
from metrics.grokking_circuit import (
    cosine_coefficient,
    embedding_frequency,
    excluded_loss_3d,
    excluded_loss_largest,
    logit_variance_explained,
    neurons_of_frequency,
    output_frequency,
    periodic_neurons,
)
from test_metric_grokking import NUMBER, P, cosine_logits, pairs, weights_of

A, B = NUMBER.repeat_interleave(P).double(), NUMBER.repeat(P).double()


def wave(k: int, number: Tensor) -> Tensor:
    return torch.cos(2 * math.pi * k * number / P)


def neurons(*columns: Tensor) -> Tensor:
    """[pair 1 d_mlp]"""
    return torch.stack(columns, 1)[:, None]


def test_the_waves_are_found_with_their_heights() -> None:
    logits = cosine_logits(3, 3.0) + cosine_logits(2, 4.0) + 5
    assert cosine_coefficient(logits, P).tolist() == pytest.approx([0, 4, 3, 0, 0], abs=1e-12)
    w_u, w_out = weights_of(3)
    assert logit_variance_explained(logits, P, w_u, w_out).tolist() == pytest.approx([9 / 25, 9 / 25])
    assert logit_variance_explained(cosine_logits(3), P, w_u, w_out).tolist() == pytest.approx([1, 1])
    # Every number's own height is something that the network says, and the second way of centring leaves it out.
    heights = torch.cat([wave(1, NUMBER) * 10, torch.zeros(1)])
    shares = logit_variance_explained(cosine_logits(3) + heights, P, w_u, w_out)
    assert shares.tolist() == pytest.approx([1 / 2, 1])


def test_heights_and_variance_agree_with_a_least_squares_fit() -> None:
    logits = torch.randn(P * P, 1, P + 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b, c = np.meshgrid(np.arange(P), np.arange(P), np.arange(P), indexing="ij")
    design = np.stack([np.cos(2 * np.pi * k * (a + b - c) / P).ravel() for k in range(1, 6)], 1)
    wanted = logits[:, 0, :P].numpy().ravel()
    wanted = wanted - wanted.reshape(-1, P).mean(1).repeat(P)
    fit, *_ = np.linalg.lstsq(design, wanted, rcond=None)
    assert cosine_coefficient(logits, P).tolist() == pytest.approx(fit.tolist())
    w_u, w_out = weights_of(2, 5)
    residual = wanted - design[:, [1, 4]] @ fit[[1, 4]]
    share = 1 - (residual**2).sum() / (wanted**2).sum()
    assert float(logit_variance_explained(logits, P, w_u, w_out)[0]) == pytest.approx(share)
    assert share < 0.01  # and noise is not explained


def test_without_its_wave_the_network_is_at_chance_and_without_another_as_before() -> None:
    given, logits = pairs(), cosine_logits(3)
    for keys, expected in ((3,), math.log(P)), ((2,), 0.34691):
        w_u, w_out = weights_of(*keys)
        loss = excluded_loss_3d(logits, **given, p=P, W_U_final=w_u, W_out_final=w_out)
        assert float(loss) == pytest.approx(expected, abs=5e-6)
    assert float(excluded_loss_largest(logits, **given, p=P)) == pytest.approx(math.log(P))


def test_a_table_learnt_by_heart_keeps_its_waves_of_other_numbers() -> None:
    """A function of a + b that points to the wrong number goes with the sum directions, and stays here."""
    logits, given, (w_u, w_out) = cosine_logits(3).roll(1, 0), pairs(), weights_of(3)
    kept = excluded_loss_3d(logits, **given, p=P, W_U_final=w_u, W_out_final=w_out)
    assert float(kept) != pytest.approx(math.log(P), abs=1e-3)


def test_neurons_are_counted_at_their_frequency() -> None:
    made = neurons(
        wave(2, A), wave(2, A) * wave(2, B), 1 + wave(2, A) + wave(2, B), wave(4, A + B), 3 * wave(5, B) + wave(1, A),
        wave(1, A) + wave(2, A), torch.full_like(A, 7.0), torch.zeros_like(A),
    )  # fmt: skip
    # Nine tenths of the fifth neuron are at 5; the sixth is halved; the last two never vary.
    assert neurons_of_frequency(made, P).tolist() == [0, 3, 0, 1, 1]
    assert float(periodic_neurons(made, P)) == pytest.approx(5 / 8)


def test_noise_has_no_frequency() -> None:
    noise = torch.randn(P * P, 1, 40, generator=torch.Generator().manual_seed(0))
    assert neurons_of_frequency(noise, P).sum() == 0
    assert float(periodic_neurons(noise, P)) == 0
    shuffled = neurons(wave(2, A)[torch.randperm(P * P, generator=torch.Generator().manual_seed(0))])
    assert float(periodic_neurons(shuffled, P)) == 0


def test_the_share_of_a_frequency_agrees_with_a_fit() -> None:
    """ReLU of a wave: the share by regression on the eight products of its frequency."""
    neuron = torch.relu(wave(2, A) + 0.7 * wave(2, B) + 0.1)
    ones, by_hand = torch.ones_like(A), []
    for k in range(1, 6):
        sines = [torch.sin(2 * math.pi * k * x / P) for x in (A, B)]
        left, right = (ones, wave(k, A), sines[0]), (ones, wave(k, B), sines[1])
        design = torch.stack([x * y for x in left for y in right], 1)
        residual = neuron - design @ torch.linalg.lstsq(design, neuron).solution
        by_hand.append(1 - float(residual.square().sum() / (neuron - neuron.mean()).square().sum()))
    ours = neuron_variance_by_frequency(neurons(neuron), P)[:, 0]
    assert ours.tolist() == pytest.approx(by_hand)


def test_the_frequencies_of_weights() -> None:
    w_u, w_out = weights_of(2, 5)
    assert output_frequency(w_u, w_out, P).tolist() == pytest.approx([0, 2**0.5, 0, 0, 2**0.5], abs=1e-12)
    embedding = torch.cat([torch.stack([3 * wave(4, NUMBER), torch.ones(P)], 1), torch.ones(1, 2)])
    assert embedding_frequency(embedding, P).tolist() == pytest.approx([0, 0, 0, 3 * (P / 2) ** 0.5, 0], abs=1e-5)


def test_nothing_to_measure_gives_nan() -> None:
    none = pairs() | {"train": torch.zeros(P * P, dtype=torch.bool)}
    w_u, w_out = weights_of(3)
    assert logit_variance_explained(torch.ones(P * P, 1, P + 1), P, w_u, w_out).isnan().all()
    assert excluded_loss_3d(cosine_logits(3), **none, p=P, W_U_final=w_u, W_out_final=w_out).isnan()
    assert excluded_loss_largest(cosine_logits(3), **none, p=P).isnan()
    assert cosine_coefficient(torch.full((P * P, 1, P + 1), math.nan), P).isnan().all()


def test_inputs_are_left_as_they_are() -> None:
    w_u, w_out = weights_of(3)
    heads = torch.randn(1, 2, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sites = {"logits": cosine_logits(3), "p": P, "W_U_final": w_u, "W_out_final": w_out, "W_U": w_u, "W_out": w_out,
             "W_E": w_u.T.clone(), "W_pos": torch.ones(3, 2, dtype=torch.float64), "W_Q": heads, "W_K": heads.clone(),
             "mlp_post": neurons(wave(1, A))} | pairs()  # fmt: skip
    before = {name: value.clone() for name, value in sites.items() if isinstance(value, Tensor)}
    files = {module.__name__ for module in (grokking_circuit, commutativity, attention_periodicity)}
    for metric in METRICS.values():
        if metric.function.__module__ in files:
            metric.function(**{name: sites[name] for name in metric.reads})
    assert all(torch.equal(sites[name], value) for name, value in before.items())


def test_the_published_network_computes_with_its_key_frequencies(reference_data: Callable[[str], Path]) -> None:
    """By logits, neurons and weights alike, the paper's {14, 35, 41, 42, 52}."""
    folder = reference_data("series/modular-addition-p113")
    model = SeriesModel(open_weights(Files((folder / "50000.pt",))))
    final = {f"{site}_final": model.site(site).clone() for site in ("W_U", "W_out")}
    task = build_task("modular_addition", {}, Subject(114, 3, None, None))
    names = ("neurons_of_frequency", "periodic_neurons", "logit_variance_explained", "cosine_coefficient",
             "attention_periodicity", "output_frequency")  # fmt: skip
    answers = {name: value for (name, _), value in measure_task(
        model, task, [METRICS[name] for name in names], final).items()}  # fmt: skip
    keys = {14, 35, 41, 42, 52}
    assert {int(k) + 1 for k in answers["neurons_of_frequency"].nonzero()} == keys
    for name in ("cosine_coefficient", "output_frequency"):
        assert {int(k) + 1 for k in answers[name].topk(5).indices} == keys
    assert answers["neurons_of_frequency"].sum() / 512 == answers["periodic_neurons"]
    # The paper's text has 0.846 and 0.95; its public checkpoints differ.
    assert float(answers["periodic_neurons"]) == pytest.approx(0.928, abs=1e-3)
    assert answers["logit_variance_explained"].tolist() == pytest.approx([0.621, 0.819], abs=1e-3)
    assert (answers["attention_periodicity"] > 0.7).all()
