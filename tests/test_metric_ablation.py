"""Silenced heads: exact against transformers' own code, nothing lost without a head, refusals, a head of no weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BloomConfig, BloomForCausalLM

import dynamics
from dynamics import forward
from dynamics.errors import UsageError
from dynamics.sites.ablation import Remember, Silence
from dynamics.sites.kernels import intervening
from dynamics.sites.unembed import logits
from dynamics.tasks import Task, build_task
from metrics import METRICS
from metrics.ablation import in_context_learning_from_heads, loss_from_heads
from tiny_models import CONFIGS, random_tokens, tiny_model

NAMES = ("in_context_learning_from_heads", "loss_from_heads")


def said(family: str, silence: Silence | None, tokens: Tensor) -> Tensor:
    """The model's logits under an intervention."""
    module = tiny_model(family)
    with torch.inference_mode(), intervening(silence):
        hidden = forward.run(module, tokens, None)
        assert hidden is not None
        return logits(module, hidden)


def first_pass(family: str, tokens: Tensor) -> Remember:
    remember = Remember()
    with torch.inference_mode(), intervening(remember):
        forward.run(tiny_model(family), tokens, None)
    return remember


@pytest.mark.parametrize("family", CONFIGS)
def test_silencing_no_head_changes_nothing(family: str) -> None:
    tokens = random_tokens(2, 16)
    frozen = Silence(tiny_model(family), [], first_pass(family, tokens))
    torch.testing.assert_close(said(family, frozen, tokens), said(family, None, tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", CONFIGS)
def test_frozen_patterns_are_those_of_the_first_pass(family: str) -> None:
    """The second pass on quite other tokens attends as the first did."""
    tokens, others = random_tokens(2, 16), random_tokens(2, 16, seed=1)
    patterns: list[Tensor] = []
    module = tiny_model(family)
    with torch.inference_mode():
        forward.run(module, tokens, lambda layer, attention: patterns.append(attention.pattern()))
        silence = Silence(module, [(0, 1)], first_pass(family, tokens))
        seen: list[Tensor] = []
        with intervening(silence):
            forward.run(module, others, lambda layer, attention: seen.append(attention.pattern()))
    for ours, theirs in zip(seen, patterns, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_silent_head_is_one_whose_columns_of_the_output_matrix_are_zero() -> None:
    """In the last layer nothing attends later, so frozen or free is the same: an independent way to the answer."""
    tokens, module = random_tokens(2, 16), tiny_model("llama")
    expected_module = tiny_model.__wrapped__("llama")  # its own copy
    with torch.no_grad():
        expected_module.model.layers[1].self_attn.o_proj.weight[:, 8:16] = 0  # head 1 of four, 8 wide
        expected_module.model.layers[1].self_attn.o_proj.weight[:, 24:32] = 0
        expected = expected_module(input_ids=tokens).logits
    for first in (None, first_pass("llama", tokens)):
        ours = said("llama", Silence(module, [(1, 1), (1, 3)], first), tokens)
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    assert (said("llama", None, tokens) - expected).abs().max() > 0.1


def test_freezing_makes_a_difference_once_a_later_layer_would_react() -> None:
    tokens, module = random_tokens(2, 16), tiny_model("llama")
    free = said("llama", Silence(module, [(0, 0)]), tokens)
    frozen = said("llama", Silence(module, [(0, 0)], first_pass("llama", tokens)), tokens)
    expected_module = tiny_model.__wrapped__("llama")
    with torch.no_grad():
        expected_module.model.layers[0].self_attn.o_proj.weight[:, :8] = 0
        torch.testing.assert_close(free, expected_module(input_ids=tokens).logits, atol=1e-5, rtol=1e-5)
    assert (free - frozen).abs().max() > 0.01


def test_heads_that_are_not_there_and_families_that_cannot_are_refused() -> None:
    with pytest.raises(UsageError, match=r"names head 2\.0, which the model has not; its layers are 0 to 1 and its he"):
        Silence(tiny_model("gpt_neox"), [(2, 0)])
    with pytest.raises(UsageError, match=r"names head 0\.4"):
        Silence(tiny_model("gpt_neox"), [(0, 4)])
    bloom = BloomForCausalLM(BloomConfig(vocab_size=32, hidden_size=16, n_layer=1, n_head=2))
    with pytest.raises(UsageError, match="family 'bloom' computes its attention in its own way, so no head"):
        Silence(bloom, [(0, 0)])


class Model:
    """The part of a series' model that a pass reads."""

    device, n_layers = torch.device("cpu"), 2

    def __init__(self, family: str) -> None:
        self.module = tiny_model(family)


def measured(heads: tuple[tuple[int, int], ...], batch_size: int = 2) -> dict[Any, Tensor]:
    fields = {"tokens": random_tokens(5, 12), "early_position": 2, "late_position": 9, "loss_positions": (1, 4, 11),
              "silenced_heads": heads, "patterns": "frozen"}  # fmt: skip
    task = Task("ablation", fields, {}, batch_size=batch_size)
    return forward.measure_task(Model("gpt_neox"), task, [METRICS[name] for name in NAMES], {})  # pyright: ignore


def test_the_measures_are_differences_of_two_passes() -> None:
    tokens, heads = random_tokens(5, 12), ((0, 1), (1, 2))
    answers = measured(heads)
    losses = []
    for silence in (None, Silence(tiny_model("gpt_neox"), heads, first_pass("gpt_neox", tokens))):
        rows = said("gpt_neox", silence, tokens)[:, :-1].log_softmax(-1)
        losses.append(-rows.gather(2, tokens[:, 1:, None]).squeeze(2))
    whole, without = losses
    score = (whole[:, 8] - whole[:, 1]) - (without[:, 8] - without[:, 1])
    torch.testing.assert_close(answers[NAMES[0], None], score, atol=1e-5, rtol=1e-4)
    worse = (without - whole)[:, [0, 3, 10]].mean(1)
    torch.testing.assert_close(answers[NAMES[1], None], worse, atol=1e-5, rtol=1e-4)
    other = measured(heads, batch_size=5)
    torch.testing.assert_close(answers[NAMES[0], None], other[NAMES[0], None], atol=1e-5, rtol=1e-4)


def test_a_head_that_does_nothing_has_nothing_due_to_it() -> None:
    """The control: with no weight from its values to the stream."""
    module = tiny_model.__wrapped__("gpt_neox")
    with torch.no_grad():
        module.gpt_neox.layers[0].attention.dense.weight[:, 8:16] = 0
    tokens = random_tokens(2, 16)
    remember = Remember()
    with torch.inference_mode():
        with intervening(remember):
            whole = forward.run(module, tokens, None)
        with intervening(Silence(module, [(0, 1)], remember)):
            without = forward.run(module, tokens, None)
    torch.testing.assert_close(whole, without)


def test_by_hand_gaps_and_inputs() -> None:
    broken = torch.full((2, 2), float("nan"))
    fine = torch.tensor([[3.0, 1.0], [2.0, 2.0]])
    kept = fine.clone()
    assert in_context_learning_from_heads(lambda _: fine, lambda _: fine, 1, 2).tolist() == [0, 0]
    assert in_context_learning_from_heads(lambda _: broken, lambda _: fine, 1, 2).isnan().all()
    assert loss_from_heads(lambda _: fine, lambda _: broken, (1, 2)).isnan().all()
    assert loss_from_heads(lambda _: fine, lambda _: fine + 1, (1, 2)).tolist() == [1, 1]
    assert torch.equal(fine, kept)


def test_over_a_series(tiny_series: Path, text: Path, tmp_path: Path) -> None:
    tasks = {"ablation": {"path": str(text), "documents": "lines", "length": 12, "heads": ["0.1", "1.0"]}}
    series = dynamics.open_series(f"folder:{tiny_series}")
    run = dynamics.measure(series, NAMES, out=tmp_path / "run", settings=dynamics.Settings(tasks=tasks))
    frame = run.measurements()
    assert frame["value"].null_count() == 0
    assert frame["n"].unique().to_list() == [64]
    assert run.query("SELECT settings ->> 'heads' AS heads FROM tasks")["heads"][0] == '["0.1","1.0"]'


def test_heads_have_to_be_named(tmp_path: Path) -> None:
    from dynamics.tasks import Subject

    with pytest.raises(UsageError, match="task 'ablation', setting 'heads': Field required"):
        build_task("ablation", {}, Subject(61, 64, 0, None))
    with pytest.raises(UsageError, match=r"setting 'heads\.0': String should match pattern"):
        build_task("ablation", {"heads": ["L1H2"]}, Subject(61, 64, 0, None))
