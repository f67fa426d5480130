"""The residual stream: what each layer hands on, recorded at a few positions while the model runs.

No family names its parts here: the layers are the model's one list of as many modules as it has layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dynamics.errors import UsageError

# Of each example, for the site `resid_post`: with a task of 64 examples 4,096 rows, which is more than the directions
# of models up to a width of 2,048 together with those that they are compared with.
POSITIONS = 64


def spread(length: int, n: int) -> list[int]:
    """At most n positions, evenly spread and without the start token.

    >>> spread(513, 5), spread(4, 64)
    ([1, 129, 256, 384, 512], [1, 2, 3])
    """
    return sorted(set(torch.linspace(1, length - 1, n).round().int().tolist()))


@contextmanager
def recording(module: PreTrainedModel, positions: Sequence[int] | None) -> Iterator[list[Tensor]]:
    """A list that fills with [batch n d_model] for each layer; nothing is hooked where no position is read."""
    residual: list[Tensor] = []
    if positions is None:
        yield residual
        return
    chosen = list(positions)

    def on_layer(_: nn.Module, __: Any, output: Any) -> None:
        residual.append((output if isinstance(output, Tensor) else output[0])[:, chosen])

    hooks = [layer.register_forward_hook(on_layer) for layer in layers_of(module)]
    try:
        yield residual
    finally:
        for hook in hooks:
            hook.remove()


def layers_of(module: PreTrainedModel) -> nn.ModuleList:
    """The layers, or a `UsageError` for a family that has no list of them."""
    count = int(module.config.num_hidden_layers)
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    if not lists:
        msg = f"model family {module.config.model_type!r} has no list of its {count} layers, so its residual stream " \
              "is not mapped; leave out the metrics of the logit lens and of representations"  # fmt: skip
        raise UsageError(msg)
    return lists[0]
