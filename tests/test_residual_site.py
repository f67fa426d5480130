"""The residual stream as metrics read it: transformers' own hidden states, of every family."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dynamics import forward
from dynamics.errors import UsageError
from dynamics.sites import residual
from dynamics.tasks import Task
from tiny_models import CONFIGS, random_tokens, tiny_model


class Model:
    """The part of a series' model that a pass reads."""

    device, n_layers = torch.device("cpu"), 2

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module


def resid_post(family: str, tokens: Tensor) -> Tensor:
    task = Task("text", {"tokens": tokens}, {}, batch_size=2)
    return forward.read_activations(Model(tiny_model(family)), task, {"resid_post"})["resid_post"]  # pyright: ignore


@pytest.mark.parametrize("family", CONFIGS)
def test_the_site_is_transformers_own_hidden_states(family: str) -> None:
    tokens = random_tokens(3, 20)
    ours = resid_post(family, tokens)
    kept: list[Tensor] = []
    model = tiny_model(family)
    hook = residual.layers_of(model)[-1].register_forward_hook(
        lambda _, __, output: kept.append(output if isinstance(output, Tensor) else output[0])
    )
    with torch.inference_mode():
        output = model(input_ids=tokens, output_hidden_states=True, use_cache=False)
    hook.remove()
    positions = residual.spread(20, residual.POSITIONS)
    assert positions == list(range(1, 20))
    assert ours.shape == (3, 19, 2, 32)
    torch.testing.assert_close(ours[:, :, 0], output.hidden_states[1][:, positions], atol=1e-4, rtol=1e-4)
    # transformers gives the last layer's after the final norm; what the layer hands on is before it
    torch.testing.assert_close(ours[:, :, 1], kept[0][:, positions], atol=1e-4, rtol=1e-4)


def test_a_family_without_a_list_of_layers_is_refused() -> None:
    module = torch.nn.Module()
    module.config = type("Config", (), {"num_hidden_layers": 3, "model_type": "odd"})()  # pyright: ignore
    with pytest.raises(UsageError, match="family 'odd' has no list of its 3 layers, so its residual stream is not map"):
        residual.layers_of(module)  # pyright: ignore[reportArgumentType]
