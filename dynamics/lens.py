"""The logit lens: each layer's residual stream, as the final norm and the unembedding would read it.

No family names its parts here. The layers are the model's one list of as many modules as it has layers; the final norm
is the module outside them whose output the unembedding reads. That applying it to the last layer's output gives what
the unembedding read is checked on every batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dynamics.errors import UsageError
from dynamics.model import unembedding


class Stream:
    """What the layers wrote in one pass, at the positions that are read."""

    def __init__(self, module: PreTrainedModel, positions: Sequence[int]) -> None:
        self.module, self.positions = module, list(positions)
        self.residual: list[Tensor] = []
        self.outside: list[tuple[nn.Module, Tensor]] = []  # what ran outside the layers, with its output

    def by_layer(self, hidden: Tensor) -> list[Tensor]:
        """Each layer's residual stream, normalised as the last one is, [batch n d_model]; `hidden` is the last one."""
        # By address, since some families hand the unembedding a view of all positions.
        same = (hidden.data_ptr(), hidden.shape)
        norms = [module for module, output in self.outside if (output.data_ptr(), output.shape) == same]
        read = hidden[:, self.positions]
        normalised = [norms[0](residual) for residual in self.residual] if norms else []
        if not normalised or not torch.allclose(normalised[-1], read, atol=1e-4, rtol=1e-3):
            msg = (
                f"the logit lens is not mapped for model family {self.module.config.model_type!r}: its last layer does "
                "not give what the unembedding reads; leave the lens metrics out"
            )
            raise UsageError(msg)
        return normalised


@contextmanager
def watching(module: PreTrainedModel, positions: Sequence[int] | None) -> Iterator[Stream | None]:
    """Record the residual stream while the model runs; nothing is hooked where no position is read."""
    if positions is None:
        yield None
        return
    stream, layers = Stream(module, positions), _layers(module)
    inside = {id(part) for layer in layers for part in layer.modules()}
    hooks = []

    def on_layer(_: nn.Module, __: Any, output: Any) -> None:
        residual = output if isinstance(output, Tensor) else output[0]
        stream.residual.append(residual[:, stream.positions])

    def on_outside(part: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            stream.outside.append((part, output))

    try:
        hooks += [layer.register_forward_hook(on_layer) for layer in layers]
        hooks += [
            part.register_forward_hook(on_outside)
            for part in module.modules() if id(part) not in inside and part is not unembedding(module)
        ]  # fmt: skip
        yield stream
    finally:
        for hook in hooks:
            hook.remove()


def _layers(module: PreTrainedModel) -> nn.ModuleList:
    count = int(module.config.num_hidden_layers)
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    if not lists:
        msg = f"model family {module.config.model_type!r} has no list of its {count} layers, so no logit lens"
        raise UsageError(msg)
    return lists[0]
