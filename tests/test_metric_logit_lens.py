"""The logit lens: by hand, and against transformers' own hidden states, norm and unembedding."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch

from dynamics import forward
from dynamics.architectures.small_transformer import SmallTransformer, SmallTransformerConfig
from dynamics.errors import UsageError
from dynamics.sites import lens, residual, unembed
from dynamics.tasks import Task
from metrics import METRICS
from metrics.logit_lens import logit_lens_agreement, logit_lens_entropy, logit_lens_kl
from tiny_models import CONFIGS, random_tokens, tiny_model

NORMS = {"gpt_neox": "gpt_neox.final_layer_norm", "gpt2": "transformer.ln_f"}
NAMES = ["logit_lens_kl", "logit_lens_agreement", "logit_lens_entropy"]


class Model:
    """The part of a series' model that a pass reads."""

    device, n_layers = torch.device("cpu"), 2

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module


def measure(module: torch.nn.Module, tokens: torch.Tensor) -> dict[tuple[str, int | None], torch.Tensor]:
    task = Task("text", {"tokens": tokens}, {}, batch_size=2)
    return forward.measure_task(Model(module), task, [METRICS[name] for name in NAMES], {})  # pyright: ignore


@pytest.mark.parametrize("family", CONFIGS)
def test_equals_transformers_own_hidden_states(family: str) -> None:
    model, tokens = tiny_model(family), random_tokens(3, 20)
    hooks = sum(len(part._forward_hooks) for part in model.modules())
    answers = measure(model, tokens)
    assert sum(len(part._forward_hooks) for part in model.modules()) == hooks
    positions = residual.spread(20, 8)
    with torch.inference_mode():
        output = model(input_ids=tokens, output_hidden_states=True, use_cache=False)
        norm = model.get_submodule(NORMS.get(family, "model.norm"))
        first = unembed.logits(model, norm(output.hidden_states[1][:, positions])).double().softmax(-1)
        final = output.logits[:, positions].double().softmax(-1)
    expected = torch.from_numpy(scipy.stats.entropy(final.numpy(), first.numpy(), axis=-1)).mean(-1)
    torch.testing.assert_close(answers["logit_lens_kl", 0].double(), expected, atol=1e-4, rtol=1e-3)
    agreement = (first.argmax(-1) == final.argmax(-1)).double().mean(-1)
    torch.testing.assert_close(answers["logit_lens_agreement", 0].double(), agreement)
    entropy = torch.special.entr(final).sum(-1).mean(-1)
    torch.testing.assert_close(answers["logit_lens_entropy", 1].double(), entropy, atol=1e-4, rtol=1e-3)
    assert float(answers["logit_lens_kl", 1].abs().max()) < 1e-5
    assert answers["logit_lens_agreement", 1].tolist() == [1.0] * 3


def test_a_model_without_norms_has_a_lens_too() -> None:
    torch.manual_seed(0)
    config = SmallTransformerConfig(d_vocab=61, n_ctx=32, n_layers=2, n_heads=2, d_model=16, d_head=8, layer_norm=False)
    answers = measure(SmallTransformer(config).eval().requires_grad_(False), random_tokens(2, 20))
    assert float(answers["logit_lens_kl", 1].abs().max()) < 1e-5


def test_a_family_whose_norm_is_not_found_is_refused() -> None:
    stream = lens.Stream(tiny_model("gpt_neox"), [1], [torch.ones(1, 1, 32)])
    with pytest.raises(UsageError, match="the logit lens is not mapped for model family 'gpt_neox'"):
        stream.norm(torch.zeros(1, 3, 32))


def test_by_hand_and_at_the_edges() -> None:
    sure, even = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]).log(), torch.full((1, 1, 4), 0.25).log()
    assert float(logit_lens_kl(even, sure)) == pytest.approx(math.log(4))
    assert float(logit_lens_kl(sure, sure)) == float(logit_lens_entropy(sure)) == 0
    assert math.isinf(float(logit_lens_kl(sure, even)))  # the lens rules out what the model holds possible
    assert float(logit_lens_entropy(even)) == pytest.approx(math.log(4))
    assert float(logit_lens_agreement(sure, sure)) == 1
    broken = torch.full((1, 1, 4), float("nan"))
    assert logit_lens_kl(broken, even).isnan().all()
    assert logit_lens_entropy(broken).isnan().all()
    assert torch.equal(even, torch.full((1, 1, 4), 0.25).log())
