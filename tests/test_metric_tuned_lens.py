"""The tuned lens: what it recovers, what it cannot, that it is no worse, exact application, split of the text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import scipy.stats
import torch
from torch import Tensor

import dynamics
from dynamics import forward
from dynamics.errors import UsageError
from dynamics.sites import residual, tuned_lens
from dynamics.sites.tuned_lens import Training, Translators, fit
from dynamics.sites.unembed import logits
from dynamics.tasks import Subject, Task, build_task
from metrics import METRICS
from metrics.tuned_lens import tuned_lens_agreement, tuned_lens_gain, tuned_lens_kl
from tiny_models import CONFIGS, random_tokens, tiny_model

NAMES = ["tuned_lens_kl", "tuned_lens_agreement", "tuned_lens_gain"]
HOW = Training(steps=300, learning_rate=1e-2, rows=128, seed=0)


class Model:
    """The part of a series' model that a pass reads."""

    device, n_layers = torch.device("cpu"), 2

    def __init__(self, family: str) -> None:
        self.module = tiny_model(family)


def measure(family: str, how: Training = HOW) -> dict[Any, Tensor]:
    fields = {"tokens": random_tokens(3, 20), "training_tokens": random_tokens(12, 20, seed=1), "training": how}
    task = Task("tuned_lens", fields, {}, batch_size=2)
    return forward.measure_task(Model(family), task, [METRICS[name] for name in NAMES], {})  # pyright: ignore


def gaussian(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def divergence(residual_rows: Tensor, final: Tensor, translators: Translators, layer: int = 0) -> float:
    module, norm = tiny_model("gpt_neox"), tiny_model("gpt_neox").gpt_neox.final_layer_norm
    with torch.no_grad():
        said = logits(module, norm(translators.translate(layer, residual_rows))).log_softmax(-1)
        target = logits(module, norm(final)).softmax(-1)
    return float((torch.special.xlogy(target, target) - target * said).sum(-1).mean())


def trained(residual_rows: Tensor, final: Tensor, how: Training = HOW) -> Translators:
    module = tiny_model("gpt_neox")
    norm = module.gpt_neox.final_layer_norm
    with torch.no_grad():
        read = norm(final)
    return fit(module, norm, [residual_rows, final], read, how)


def test_a_layer_in_another_basis_is_translated() -> None:
    """What the layer holds is the last stream, turned and moved: nothing is lost, and the logit lens reads nothing."""
    final = gaussian(1500, 32, seed=0)
    turned = final @ torch.linalg.qr(gaussian(32, 32, seed=1))[0] + gaussian(1, 32, seed=2)
    how = Training(steps=600, learning_rate=3e-2, rows=256, seed=0)
    translators = trained(turned[:1000], final[:1000], how)
    plain = divergence(turned[1000:], final[1000:], Translators([None, None]))
    tuned = divergence(turned[1000:], final[1000:], translators)
    assert plain > 0.5
    assert tuned < 0.05 * plain
    assert translators.maps[1] is None


def test_a_layer_that_holds_nothing_stays_at_the_best_constant() -> None:
    """The control: from noise, on other text, nothing beats saying the mean prediction always."""
    final, noise = gaussian(3000, 32, seed=0), gaussian(3000, 32, seed=1)
    module, norm = tiny_model("gpt_neox"), tiny_model("gpt_neox").gpt_neox.final_layer_norm
    translators = trained(noise[:2000], final[:2000])
    with torch.no_grad():
        target = logits(module, norm(final[2000:])).softmax(-1).double().numpy()
    constant = scipy.stats.entropy(target, target.mean(0)[None], axis=-1).mean()
    tuned = divergence(noise[2000:], final[2000:], translators)
    assert tuned > 0.97 * constant
    assert tuned < divergence(noise[2000:], final[2000:], Translators([None, None]))


def test_it_starts_as_the_logit_lens_and_is_never_worse_on_its_own_text() -> None:
    final, layer = gaussian(400, 32, seed=0), gaussian(400, 32, seed=3)
    assert trained(layer, final, Training(1, 0.0, 16, 0)).maps == [None, None]
    # steps so large that they lead away: the translator is left out
    assert trained(layer, final, Training(3, 1e6, 16, 0)).maps[0] is None
    plain = Translators([None, None])
    assert divergence(layer, final, trained(layer, final)) < divergence(layer, final, plain)


def test_the_seed_fixes_it() -> None:
    final, layer = gaussian(300, 32, seed=0), gaussian(300, 32, seed=3)
    short = Training(20, 1e-2, 32, 0)
    first, again = (trained(layer, final, short).maps[0] for _ in range(2))
    other = trained(layer, final, Training(20, 1e-2, 32, 1)).maps[0]
    assert first is not None
    assert again is not None
    assert other is not None
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("family", ["gpt_neox", "llama", "gemma2"])
def test_translators_are_applied_to_transformers_own_hidden_states(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix, bias = 0.1 * gaussian(32, 32, seed=4), gaussian(1, 32, seed=5)[0]
    monkeypatch.setattr(tuned_lens, "fit", lambda *_: Translators([(matrix, bias), None]))
    answers = measure(family)
    model, tokens, positions = tiny_model(family), random_tokens(3, 20), residual.spread(20, 8)
    norm = model.get_submodule("gpt_neox.final_layer_norm" if family == "gpt_neox" else "model.norm")
    with torch.inference_mode():
        output = model(input_ids=tokens, output_hidden_states=True, use_cache=False)
        hidden = output.hidden_states[1][:, positions]
        said = logits(model, norm(hidden + hidden @ matrix.T + bias)).double().softmax(-1)
        plain = logits(model, norm(hidden)).double().softmax(-1)
        final = output.logits[:, positions].double().softmax(-1)
    expected = torch.from_numpy(scipy.stats.entropy(final.numpy(), said.numpy(), axis=-1)).mean(-1)
    torch.testing.assert_close(answers["tuned_lens_kl", 0].double(), expected, atol=1e-4, rtol=1e-3)
    without = torch.from_numpy(scipy.stats.entropy(final.numpy(), plain.numpy(), axis=-1)).mean(-1)
    torch.testing.assert_close(answers["tuned_lens_gain", 0].double(), without - expected, atol=2e-4, rtol=1e-3)
    agreement = (said.argmax(-1) == final.argmax(-1)).double().mean(-1)
    torch.testing.assert_close(answers["tuned_lens_agreement", 0].double(), agreement)


@pytest.mark.parametrize("family", CONFIGS)
def test_the_last_layer_is_read_as_it_is_and_the_model_left_as_it_was(family: str) -> None:
    module = tiny_model(family)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    hooks = sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())
    answers = measure(family, Training(3, 1e-3, 32, 0))
    assert float(answers["tuned_lens_kl", 1].abs().max()) < 1e-5
    assert float(answers["tuned_lens_gain", 1].abs().max()) < 1e-5
    assert answers["tuned_lens_agreement", 1].tolist() == [1.0] * 3
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()) == hooks
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in module.parameters())


def test_by_hand_and_at_the_edges() -> None:
    sure, even = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]).log(), torch.full((1, 1, 4), 0.25).log()
    kept = even.clone()
    assert float(tuned_lens_kl(even, sure)) == pytest.approx(math.log(4))
    assert float(tuned_lens_gain(sure, even, sure)) == pytest.approx(-math.log(4))
    assert float(tuned_lens_agreement(sure, sure)) == 1
    broken = torch.full((1, 1, 4), float("nan"))
    assert tuned_lens_kl(broken, even).isnan().all()
    assert tuned_lens_gain(even, broken, even).isnan().all()
    assert torch.equal(even, kept)


def test_no_window_is_trained_on_and_read(tiny_series: Path, text: Path) -> None:
    subject = Subject(75, 64, 0, tiny_series / "step0" / "tokenizer.json")
    settings = {"path": str(text), "documents": "lines", "length": 12, "n_training": 30, "n_examples": 10}
    task = build_task("tuned_lens", settings, subject)
    read, trained_on = ({tuple(row) for row in task.fields[name].tolist()} for name in ("tokens", "training_tokens"))
    assert (len(task.tokens), len(task.fields["training_tokens"])) == (10, 30)
    assert not read & trained_on
    assert task.settings["learning_rate"] == 1e-3
    with pytest.raises(UsageError, match="windows of 12 tokens, and the task 'tuned_lens' takes 300 to train on"):
        build_task("tuned_lens", settings | {"n_training": 300}, subject)


def test_over_a_series(tiny_series: Path, text: Path, tmp_path: Path) -> None:
    tasks = {"tuned_lens": {"path": str(text), "documents": "lines", "length": 12, "n_training": 30, "n_examples": 10,
                            "steps": 5}}  # fmt: skip
    series = dynamics.open_series(f"folder:{tiny_series}", steps="0,1000")
    frame = dynamics.measure(
        series, NAMES, out=tmp_path / "run", settings=dynamics.Settings(tasks=tasks)
    ).measurements()
    assert frame["value"].null_count() == 0
    assert frame.filter(pl.col("metric") == "tuned_lens_kl", pl.col("layer") == 1)["value"].abs().max() < 1e-5  # pyright: ignore
