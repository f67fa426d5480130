"""Updates between checkpoints: by hand, against torch's own norms, for steps that go straight and steps that wander."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from metrics.updates import (
    module_update_norm,
    relative_module_update_norm,
    relative_update_norm,
    update_cosine,
    update_norm,
    update_norm_per_learning_rate,
)
from tiny_models import tiny_model

NORMS = [
    update_norm, relative_update_norm, update_norm_per_learning_rate, module_update_norm, relative_module_update_norm,
]  # fmt: skip


def weights() -> dict[str, Tensor]:
    return dict(tiny_model("gpt_neox").named_parameters())


def moved(seed: int, scale: float = 1.0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {name: w + scale * torch.randn(w.shape, generator=draw) for name, w in weights().items()}


def test_equals_torchs_own_norms() -> None:
    before, here = weights(), moved(1)
    for name, value in update_norm(here, before, 10).items():
        torch.testing.assert_close(value, (here[name].double() - before[name].double()).norm() / 10)
    attention = "gpt_neox.layers.0.attention"
    inside = [name for name in before if name.startswith(attention + ".")]
    change = torch.cat([(here[name].double() - before[name].double()).flatten() for name in inside])
    size = torch.cat([before[name].double().flatten() for name in inside])
    torch.testing.assert_close(module_update_norm(here, before, 10)[attention], change.norm() / 10)
    expected = change.norm() / size.norm() / 10
    torch.testing.assert_close(relative_module_update_norm(here, before, 10)[attention], expected)


def test_modules_are_the_parts_of_each_layer_and_what_is_outside() -> None:
    names = set(module_update_norm(weights(), weights(), 1))
    assert {"gpt_neox.embed_in", "gpt_neox.layers.1.mlp", "gpt_neox.layers.1.input_layernorm", "lm_head"} <= names


@pytest.mark.parametrize("norm", NORMS)
def test_equal_checkpoints_have_not_moved(norm: object) -> None:
    nonzero = {name: w for name, w in weights().items() if w.any()}
    assert not any(norm(nonzero, nonzero, 7).values())  # pyright: ignore[reportCallIssue]


def test_a_straight_way_is_as_long_by_the_step_however_it_is_cut() -> None:
    start, way = torch.zeros(50), torch.randn(50, generator=torch.Generator().manual_seed(0))
    at = [{"W": start + step * way} for step in (0, 10, 100)]
    near, far = (update_norm(at[i], at[i - 1], steps)["W"] for i, steps in ((1, 10), (2, 90)))
    torch.testing.assert_close(near, far, rtol=1e-6, atol=0)
    assert float(update_cosine(at[2], at[1], at[0])["W"]) == pytest.approx(1)


def test_wandering_steps_have_no_direction() -> None:
    """Independent steps: cosine 0 within a few 1/sqrt(n), and 1/sqrt(steps) as far by the step."""
    draw = torch.Generator().manual_seed(0)
    at = torch.randn(101, 2500, generator=draw).cumsum(0)
    first, middle, last = ({"W": at[i]} for i in (0, 50, 100))
    assert abs(float(update_cosine(last, middle, first)["W"])) < 4 / 50
    assert float(update_norm(last, first, 100)["W"]) == pytest.approx(math.sqrt(2500 / 100), rel=0.1)


def test_a_step_back_undoes_the_one_before() -> None:
    there, then = {"W": torch.zeros(3)}, {"W": torch.ones(3)}
    assert float(update_cosine(there, then, there)["W"]) == pytest.approx(-1)


@pytest.mark.parametrize("norm", NORMS)
def test_without_a_checkpoint_before_nothing_is_defined(norm: object) -> None:
    nothing = {name: torch.full_like(w, float("nan")) for name, w in weights().items()}
    assert all(value.isnan() for value in norm(weights(), nothing, float("nan")).values())  # pyright: ignore


def test_what_has_no_answer_is_nan() -> None:
    zero, one = {"W": torch.zeros(3)}, {"W": torch.ones(3)}
    assert relative_update_norm(one, zero, 1)["W"].isnan()
    assert relative_module_update_norm(one, zero, 1)["W"].isnan()
    assert update_cosine(one, one, zero)["W"].isnan()
    assert update_norm_per_learning_rate(one, zero, float("nan"))["W"].isnan()


def test_a_tensor_that_was_written_to_is_measured_again() -> None:
    """Norms are remembered as long as the tensors stay as they are."""
    here, before = {"W": torch.ones(4)}, {"W": torch.zeros(4)}
    assert float(update_norm(here, before, 1)["W"]) == 2
    here["W"].mul_(3)
    assert float(update_norm(here, before, 1)["W"]) == 6
    before["W"].add_(3)
    assert float(update_norm(here, before, 1)["W"]) == 0


def test_inputs_are_left_as_they_are() -> None:
    here, before, earlier = moved(1), weights(), moved(2)
    copies = [{name: w.clone() for name, w in at.items()} for at in (here, before, earlier)]
    for norm in NORMS:
        norm(here, before, 3)
    update_cosine(here, before, earlier)
    for at, copy in zip((here, before, earlier), copies, strict=True):
        assert all(torch.equal(at[name], copy[name]) for name in copy)
