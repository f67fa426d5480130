"""The progress measures of grokking: by hand at p = 11, and the published run's numbers at p = 113."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dynamics.checkpoint import Files, Weights, open_weights
from dynamics.forward import measure_task, measure_weights
from dynamics.model import SeriesModel
from dynamics.tasks import Subject, build_task
from metrics import METRICS, grokking
from metrics.fourier import fourier_basis, gini
from metrics.grokking import (
    excluded_loss,
    excluded_loss_by_frequency,
    gini_embedding,
    gini_output,
    key_frequency,
    restricted_loss,
    train_accuracy,
    train_loss,
)

# Under their own names pytest would take these two for tests.
unseen_accuracy, unseen_loss = grokking.test_accuracy, grokking.test_loss

P = 11
NUMBER = torch.arange(P)


def cosine_logits(frequency: int, height: float = 10.0) -> Tensor:
    """[pair 1 p+1]: height * cos(2 pi k (a + b - c) / p) over all pairs, and a large logit of '=' to be dropped."""
    a, b, c = NUMBER[:, None, None], NUMBER[None, :, None], NUMBER[None, None, :]
    logits = height * torch.cos(2 * math.pi * frequency * (a + b - c).double() / P)
    return torch.cat([logits.flatten(0, 1), torch.full((P * P, 1), 99.0)], 1)[:, None]


def weights_of(*frequencies: int) -> tuple[Tensor, Tensor]:
    """`W_U` and `W_out` whose neuron-logit map is made of the given frequencies, cosine and sine."""
    rows = [row for k in frequencies for row in (2 * k - 1, 2 * k)]
    directions = fourier_basis(P)[rows]
    w_u = torch.cat([directions, torch.zeros(len(rows), 1, dtype=torch.float64)], 1)
    return w_u, torch.eye(len(rows), dtype=torch.float64)[None]


def pairs(share: float = 0.3) -> dict[str, Tensor]:
    """Answers, and a training set of the given share."""
    answer = (NUMBER[:, None] + NUMBER[None, :]).flatten() % P
    train = torch.rand(P * P, generator=torch.Generator().manual_seed(0)) < share
    return {"answer": answer, "train": train}


def brute_force_loss(logits: Tensor, answer: Tensor) -> float:
    """Cross-entropy of the numbers, one pair at a time."""
    losses = [-math.log(math.exp(row[c]) / sum(map(math.exp, row)))
              for row, c in zip(logits[:, 0, :P].tolist(), answer.tolist(), strict=True)]  # fmt: skip
    return sum(losses) / len(losses)


def test_the_key_frequency_alone_keeps_the_loss_and_without_it_chance_is_left() -> None:
    logits, given = cosine_logits(3), pairs()
    by_hand = brute_force_loss(logits, given["answer"])
    assert by_hand == pytest.approx(0.34691, abs=5e-6)
    w_u, w_out = weights_of(3)
    assert float(train_loss(logits, **given, p=P)) == pytest.approx(by_hand)
    assert float(unseen_loss(logits, **given, p=P)) == pytest.approx(by_hand)
    restricted = restricted_loss(logits, **given, p=P, W_U_final=w_u, W_out_final=w_out)
    torch.testing.assert_close(restricted, torch.full((3,), by_hand, dtype=torch.float64))
    excluded = excluded_loss(logits, **given, p=P, W_U_final=w_u, W_out_final=w_out)
    assert float(excluded) == pytest.approx(math.log(P))
    by_frequency = excluded_loss_by_frequency(logits, **given, p=P)
    expected = [math.log(P) if k == 3 else by_hand for k in range(1, 6)]
    assert by_frequency.tolist() == pytest.approx(expected)


def test_another_frequency_is_neither_kept_nor_removed() -> None:
    logits, given, (w_u, w_out) = cosine_logits(3), pairs(), weights_of(2)
    restricted = restricted_loss(logits, **given, p=P, W_U_final=w_u, W_out_final=w_out)
    assert restricted.tolist() == pytest.approx([math.log(P)] * 3)
    excluded = excluded_loss(logits, **given, p=P, W_U_final=w_u, W_out_final=w_out)
    assert float(excluded) == pytest.approx(0.34691, abs=5e-6)


def test_accuracy_is_one_where_the_answer_is_highest_and_chance_for_a_constant() -> None:
    given = pairs()
    for accuracy in (train_accuracy, unseen_accuracy):
        assert float(accuracy(cosine_logits(3), **given, p=P)) == 1
        assert float(accuracy(-cosine_logits(3), **given, p=P)) == 0
    constant = torch.zeros(P * P, 1, P + 1)
    constant[..., 4] = 1  # each number is the answer of p pairs
    every = given | {"train": torch.ones(P * P, dtype=torch.bool)}
    assert float(train_accuracy(constant, **every, p=P)) == pytest.approx(1 / P)


def test_the_key_frequencies_are_found() -> None:
    w_u, w_out = weights_of(2, 5)
    assert key_frequency(P, w_u, w_out).tolist() == [0, 1, 0, 0, 1]


def test_gini_by_hand() -> None:
    """m equal shares of N: 1 - m/N. A frequency in cosine and sine is 2 of the p components."""
    assert float(gini(torch.tensor([0.0, 0.0, 3.0, 3.0, 3.0]))) == pytest.approx(1 - 3 / 5)
    w_u, w_out = weights_of(2)
    assert float(gini_output(w_u, w_out, P)) == pytest.approx(1 - 2 / P)
    assert float(gini_embedding(fourier_basis(P)[[3, 4]].T, P)) == pytest.approx(1 - 2 / P)
    assert float(gini_embedding(fourier_basis(P).T, P)) == pytest.approx(0, abs=1e-12)


def test_nothing_to_measure_gives_nan() -> None:
    none = pairs() | {"train": torch.zeros(P * P, dtype=torch.bool)}
    every = pairs() | {"train": torch.ones(P * P, dtype=torch.bool)}
    logits = cosine_logits(3)
    assert train_loss(logits, **none, p=P).isnan()
    assert train_accuracy(logits, **none, p=P).isnan()
    assert unseen_loss(logits, **every, p=P).isnan()
    assert unseen_accuracy(logits, **every, p=P).isnan()
    assert gini_embedding(torch.zeros(P + 1, 4), P).isnan()
    assert gini_output(torch.zeros(4, P + 1), torch.zeros(1, 3, 4), P).isnan()


def test_inputs_are_left_as_they_are() -> None:
    logits, given, (w_u, w_out) = cosine_logits(3), pairs(), weights_of(3)
    tensors = [logits, given["answer"], given["train"], w_u, w_out]
    before = [tensor.clone() for tensor in tensors]
    sites = {"logits": logits, "p": P, "W_U_final": w_u, "W_out_final": w_out, "W_U": w_u, "W_out": w_out,
             "W_E": w_u.T} | given  # fmt: skip
    for metric in METRICS.values():
        if metric.function.__module__ == grokking.__name__:
            metric.function(**{name: sites[name] for name in metric.reads})
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


PUBLISHED = {  # epoch: train loss, test loss, restricted (all pairs), excluded (train), Gini W_E, sum of squares
    0: (4.755, 4.760, 4.755, 4.755, 0.0352, 1783),
    5000: (3.962e-7, 19.92, 1.969, 0.07805, 0.1541, 3155),
    9000: (2.487e-7, 0.01632, 7.979e-8, 16.20, 0.3441, 1934),
    20000: (4.078e-6, 3.558e-5, 2.58e-6, 12.67, 0.5164, 1334),
}


def test_the_published_run_gives_its_published_numbers(reference_data: Callable[[str], Path]) -> None:
    """Three significant digits, key frequencies {14, 35, 41, 42, 52} found in the last checkpoint."""
    folder = reference_data("series/modular-addition-p113")
    model = SeriesModel(_opened(folder, 50000))
    final = {f"{site}_final": model.site(site).clone() for site in ("W_U", "W_out")}
    task = build_task("modular_addition", {}, Subject(114, 3, None, None))
    names = ("train_loss", "test_loss", "restricted_loss", "excluded_loss", "gini_embedding", "key_frequency")
    for epoch, expected in PUBLISHED.items():
        model.load(_opened(folder, epoch))
        answers = measure_task(model, task, [METRICS[name] for name in names], final)
        found = [answers[name, None].flatten()[0].item() for name in names[:5]]
        squares = measure_weights(model, [METRICS["sum_of_squared_weights"]], {})
        found += [squares["sum_of_squared_weights", None].item()]
        assert found == pytest.approx(expected, rel=2e-3), epoch
        key = answers["key_frequency", None].nonzero().flatten() + 1
        assert key.tolist() == [14, 35, 41, 42, 52]


def _opened(folder: Path, epoch: int) -> Weights:
    return open_weights(Files((folder / f"{epoch}.pt",)))
