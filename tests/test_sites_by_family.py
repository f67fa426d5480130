"""Residual stream, lenses, silenced heads and sampled weights in every family that attends: exact, or refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dynamics import forward
from dynamics.errors import UsageError
from dynamics.sites import lens, residual
from dynamics.sites.ablation import Remember, Silence
from dynamics.sites.kernels import intervening
from dynamics.sites.langevin import Sampling, around
from dynamics.sites.tuned_lens import Training
from dynamics.tasks import Task
from metrics import METRICS
from test_attention_families import VARIANTS, model
from tiny_models import random_tokens

# Families whose attention is computed in their own code and cannot be stepped into.
OWN_ATTENTION = {"bloom", "falcon", "gpt_neo", "gptj", "mpt"}
# Variants whose last layer does not give what the unembedding reads: norms within the layers, or a head before it.
NO_LENS = {"bert", "opt post-norm"}
TOKENS = random_tokens(3, 12)


class Model:
    """The part of a series' model that a pass reads."""

    device, n_layers = torch.device("cpu"), 2

    def __init__(self, module: PreTrainedModel) -> None:
        self.module = module


def tokens(variant: str) -> Tensor:
    return TOKENS % int(model(variant).config.vocab_size)


def last_layers(variant: str) -> list[Tensor]:
    """What each layer hands on, by transformers' own eager pass, with hooks of the test's own."""
    heard: list[Tensor] = []
    layers = next(part for part in model(variant).modules() if isinstance(part, nn.ModuleList) and len(part) == 2)
    hooks = [layer.register_forward_hook(lambda _, __, out: heard.append(out if isinstance(out, Tensor) else out[0]))
             for layer in layers]  # fmt: skip
    try:
        with torch.inference_mode():
            model(variant)(input_ids=tokens(variant), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return heard


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_residual_stream_is_what_each_layer_hands_on(variant: str) -> None:
    task = Task("text", {"tokens": tokens(variant)}, {}, batch_size=2)
    ours = forward.read_activations(Model(model(variant)), task, {"resid_post"})["resid_post"]  # pyright: ignore
    places = residual.spread(12, residual.POSITIONS)
    for layer, theirs in enumerate(last_layers(variant)):
        torch.testing.assert_close(ours[:, :, layer], theirs[:, places], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_lenses_end_at_the_models_own_answer_or_refuse(variant: str) -> None:
    fields = {"tokens": tokens(variant), "training_tokens": tokens(variant), "training": Training(2, 1e-3, 16, 0)}
    task = Task("tuned_lens", fields, {}, batch_size=2)
    chosen = [METRICS[name] for name in ("tuned_lens_kl", "tuned_lens_gain")]
    if variant in NO_LENS:
        with pytest.raises(UsageError, match="the logit lens is not mapped for model family"):
            forward.measure_task(Model(model(variant)), task, chosen, {})  # pyright: ignore[reportArgumentType]
        return
    answers = forward.measure_task(Model(model(variant)), task, chosen, {})  # pyright: ignore[reportArgumentType]
    assert float(answers["tuned_lens_kl", 1].abs().max()) < 1e-4
    assert answers["tuned_lens_kl", 0].isfinite().all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_silencing_no_head_changes_nothing_or_is_refused(variant: str) -> None:
    module = model(variant)
    remember = Remember()
    with torch.inference_mode(), intervening(remember):
        whole = forward.run(module, tokens(variant), None)
    if VARIANTS[variant][0] in OWN_ATTENTION:
        with pytest.raises(UsageError, match="computes its attention in its own way"):
            Silence(module, [])
        return
    with torch.inference_mode():
        with intervening(Silence(module, [], remember)):
            same = forward.run(module, tokens(variant), None)
        with intervening(Silence(module, [(0, 0)], remember)):
            other = forward.run(module, tokens(variant), None)
    assert whole is not None
    assert same is not None
    assert other is not None
    torch.testing.assert_close(same, whole, atol=1e-4, rtol=1e-4)
    assert (other - whole).abs().max() > 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_are_sampled_in_every_family(variant: str) -> None:
    answer = around(model(variant), tokens(variant), Sampling(1.0, 10.0, 1e-6, 1, 2, 3, 0))
    with torch.no_grad():
        said = model(variant)(input_ids=tokens(variant), use_cache=False).logits[:, :-1].double()
    expected = nn.functional.cross_entropy(said.flatten(0, 1), tokens(variant)[:, 1:].flatten())
    assert float(answer["langevin_start"]) == pytest.approx(float(expected), rel=1e-4)
    assert float(answer["langevin_losses"][0, 0]) == pytest.approx(float(expected), rel=1e-4)


def test_a_lens_is_watched_and_unwatched() -> None:
    module = model("llama")
    before = sum(len(part._forward_hooks) for part in module.modules())
    with lens.watching(module, [1]):
        assert sum(len(part._forward_hooks) for part in module.modules()) > before
    assert sum(len(part._forward_hooks) for part in module.modules()) == before
