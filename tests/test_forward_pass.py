"""One pass for each task: what it computes, and what it leaves uncomputed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PretrainedConfig, PreTrainedModel

from dynamics import forward
from dynamics.errors import UsageError
from dynamics.self_check import check_model
from dynamics.sites import unembed
from dynamics.tasks import Task
from metrics import METRICS, contract
from metrics.contract import Metric, metric
from tiny_models import CONFIGS, D_VOCAB, eager_outputs, random_tokens, tiny_model

BATCH, LENGTH = 5, 12


class Model:
    """The part of a series' model that a pass reads."""

    device = torch.device("cpu")
    n_layers = 2

    def __init__(self, family: str) -> None:
        self.module: PreTrainedModel = tiny_model(family)

    @property
    def config(self) -> PretrainedConfig:
        return self.module.config


def text(batch_size: int = 2) -> Task:
    fields = {"tokens": random_tokens(BATCH, LENGTH), "early_position": 2, "late_position": 9,
              "loss_positions": tuple(range(1, LENGTH))}  # fmt: skip
    return Task("text", fields, {}, batch_size=batch_size)


def measure(names: list[str], family: str = "gpt_neox", task: Task | None = None) -> dict[Any, Tensor]:
    chosen = [METRICS[name] for name in names]
    return forward.measure_task(Model(family), task or text(), chosen, {})  # pyright: ignore[reportArgumentType]


def expected_losses(family: str) -> Tensor:
    """[batch pos] from transformers' own logits."""
    tokens = random_tokens(BATCH, LENGTH)
    logits, _ = eager_outputs(tiny_model(family), tokens)
    return -logits[:, :-1].log_softmax(-1).gather(2, tokens[:, 1:, None]).squeeze(2)


class Unembedded(TorchDispatchMode):
    """The rows that matrix products turn into logits, and the largest tensor of logits that any operation makes."""

    rows, largest = 0, 0
    products = ("aten.mm", "aten.addmm", "aten.linear")

    def __torch_dispatch__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, Tensor) and tensor.shape[-1:] == (D_VOCAB,):
                self.largest = max(self.largest, tensor.numel())
                self.rows += tensor.shape[:-1].numel() if str(function).startswith(self.products) else 0
        return made


@pytest.mark.parametrize("family", CONFIGS)
def test_losses_equal_those_of_transformers_logits(family: str) -> None:
    answers = measure(["loss", "loss_by_position", "in_context_learning_score"], family)
    expected = expected_losses(family)
    torch.testing.assert_close(answers["loss_by_position", None], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(answers["loss", None], expected.mean(-1), atol=1e-5, rtol=0)
    score = expected[:, 8] - expected[:, 1]  # the 9th and the 2nd predicted token
    torch.testing.assert_close(answers["in_context_learning_score", None], score, atol=1e-5, rtol=0)


def test_attention_alone_unembeds_nothing_and_stops_after_the_last_layers_attention() -> None:
    last_mlp = tiny_model("gpt_neox").gpt_neox.layers[-1].mlp
    calls: list[int] = []
    hook = last_mlp.register_forward_hook(lambda *_: calls.append(1))
    with Unembedded() as seen:
        answers = measure(["previous_token_attention"])
    hook.remove()
    assert (seen.rows, calls) == (0, [])
    assert answers["previous_token_attention", 1].shape == (BATCH, 4)


def test_the_in_context_score_unembeds_two_positions_of_each_example() -> None:
    with Unembedded() as seen:
        alone = measure(["in_context_learning_score"])["in_context_learning_score", None]
    assert seen.rows == 2 * BATCH
    beside = measure(["in_context_learning_score", "loss"])["in_context_learning_score", None]
    torch.testing.assert_close(alone, beside)


def test_full_loss_unembeds_each_predicted_position_once() -> None:
    with Unembedded() as seen:
        measure(["loss", "loss_by_position", "in_context_learning_score", "previous_token_attention"])
    assert seen.rows == BATCH * (LENGTH - 1)


def test_no_tensor_of_every_positions_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unembed, "LOSS_ROWS", 4)
    with Unembedded() as seen:
        answers = measure(["loss_by_position"], task=text(batch_size=BATCH))
    torch.testing.assert_close(answers["loss_by_position", None], expected_losses("gpt_neox"), atol=1e-5, rtol=0)
    everything = BATCH * LENGTH * D_VOCAB
    assert seen.rows == BATCH * (LENGTH - 1)
    assert 4 * D_VOCAB <= seen.largest < everything / 1.5
    with Unembedded() as control:
        eager_outputs(tiny_model("gpt_neox"), text().tokens)
    assert control.largest >= everything


@pytest.mark.parametrize("family", ["gpt_neox", "llama"])
def test_the_batch_size_does_not_matter(family: str) -> None:
    names = ["loss", "previous_token_attention", "in_context_learning_score"]
    whole, parts = measure(names, family, text(batch_size=BATCH)), measure(names, family, text(batch_size=2))
    assert whole.keys() == parts.keys()
    for key, values in whole.items():
        torch.testing.assert_close(values, parts[key], atol=1e-6, rtol=0)


def test_logits_come_at_the_positions_that_the_task_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = own_metric(monkeypatch, "logits", per_example=False)
    tokens = random_tokens(BATCH, LENGTH)
    task = Task("text", {"tokens": tokens}, {}, read_positions=(3, 7), batch_size=2)
    with Unembedded() as seen:
        answers = forward.measure_task(Model("gpt_neox"), task, [reader], {})  # pyright: ignore[reportArgumentType]
    expected, _ = eager_outputs(tiny_model("gpt_neox"), tokens)
    torch.testing.assert_close(answers[reader.name, None], expected[:, [3, 7]], atol=1e-5, rtol=0)
    assert seen.rows == 2 * BATCH


def own_metric(monkeypatch: pytest.MonkeyPatch, reads: str, **settings: Any) -> Metric:
    """A metric that gives back the one site that it reads, in a registry of the test's own."""
    registry: dict[str, Metric] = {}
    monkeypatch.setattr(contract, "_METRICS", registry)
    scope: dict[str, Any] = {}
    exec(f"def reader({reads}): return {reads}", scope)
    metric(title="", unit="", source="", task="text", **settings)(scope["reader"])
    return registry["reader"]


def test_a_field_that_the_task_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"metric 'reader' reads 'banana', which task 'text' has not; it has tokens"):
        forward.check_reads([own_metric(monkeypatch, "banana")], ("tokens",))


def test_an_activation_of_another_checkpoint_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="reads logits of another checkpoint; of activations only .*resid_post of the"):
        forward.check_reads([own_metric(monkeypatch, "logits_final")], ("tokens",))
    for other in ("resid_post_first", "resid_post_final", "resid_post_previous"):
        forward.check_reads([own_metric(monkeypatch, other)], ("tokens",))
    with pytest.raises(UsageError, match="reads resid_post of another checkpoint"):
        forward.check_reads([own_metric(monkeypatch, "resid_post_previous_previous")], ("tokens",))


@pytest.mark.parametrize("family", CONFIGS)
def test_the_self_check_accepts_every_family(family: str) -> None:
    check_model(Model(family))  # pyright: ignore[reportArgumentType]


def test_the_self_check_refuses_readings_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    compute = forward.kernels.compute

    def wrong_scale(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, **settings: Any) -> Any:
        return compute(q, k, v, mask, 2 * scale, **settings)

    monkeypatch.setattr(forward.kernels, "compute", wrong_scale)
    with pytest.raises(UsageError, match=r"self-check failed: .* differ from transformers' own by"):
        check_model(Model("gpt_neox"))  # pyright: ignore[reportArgumentType]


def test_a_pass_leaves_the_model_as_it_was() -> None:
    module = tiny_model("gpt_neox")
    before = (module.config._attn_implementation, {k: v.clone() for k, v in module.state_dict().items()})
    measure(["loss", "previous_token_attention"])
    assert module.config._attn_implementation == before[0]
    assert all(torch.equal(value, before[1][key]) for key, value in module.state_dict().items())
    assert not any(part._forward_pre_hooks for part in module.modules())
