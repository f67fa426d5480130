"""The logit lens and the tuned one: each layer's residual stream, as the final norm and the unembedding would read it.

The final norm is the module outside the layers whose output the unembedding reads. That applying it to the last
layer's output gives what the unembedding read is checked on every batch.
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
from dynamics.sites.residual import layers_of, recording
from dynamics.sites.tuned_lens import Translators
from dynamics.sites.unembed import logits

# Enough for a mean over a task's examples; every layer is unembedded at each of them.
POSITIONS = 8


class Stream:
    """What the layers wrote in one pass, at the positions that are read."""

    def __init__(self, module: PreTrainedModel, positions: Sequence[int], residual: list[Tensor]) -> None:
        self.module, self.positions, self.residual = module, list(positions), residual
        self.outside: list[tuple[nn.Module, Tensor]] = []  # what ran outside the layers, with its output

    def norm(self, hidden: Tensor) -> nn.Module:
        """The final norm; `hidden` is the last residual stream, as the unembedding read it."""
        # By address, since some families hand the unembedding a view of all positions.
        same = (hidden.data_ptr(), hidden.shape)
        norms = [module for module, output in self.outside if (output.data_ptr(), output.shape) == same]
        read = hidden[:, self.positions]
        if not norms or not torch.allclose(norms[0](self.residual[-1]), read, atol=1e-4, rtol=1e-3):
            msg = (
                f"the logit lens is not mapped for model family {self.module.config.model_type!r}: its last layer does "
                "not give what the unembedding reads; leave the lens metrics out"
            )
            raise UsageError(msg)
        return norms[0]

    def sites(self, hidden: Tensor, wanted: set[str], translators: Translators | None) -> Iterator[dict[str, Tensor]]:
        """What each layer would say through the lenses that are wanted, and what the model says, as log-probabilities.

        All of them are [batch n d_vocab].
        """
        norm = self.norm(hidden)
        target = logits(self.module, hidden[:, self.positions]).float().log_softmax(-1)
        for layer, residual in enumerate(self.residual):
            sites = {"lens_target": target}
            if "lens" in wanted:
                sites["lens"] = logits(self.module, norm(residual)).float().log_softmax(-1)
            if "tuned_lens" in wanted and translators is not None:
                translated = norm(translators.translate(layer, residual))
                sites["tuned_lens"] = logits(self.module, translated).float().log_softmax(-1)
            yield sites


@contextmanager
def watching(module: PreTrainedModel, positions: Sequence[int] | None) -> Iterator[Stream | None]:
    """Record the residual stream and the final norm while the model runs; nothing where no position is read."""
    if positions is None:
        yield None
        return
    inside = {id(part) for layer in layers_of(module) for part in layer.modules()}
    with recording(module, positions) as residual:
        stream = Stream(module, positions, residual)

        def on_outside(part: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                stream.outside.append((part, output))

        hooks = [
            part.register_forward_hook(on_outside)
            for part in module.modules() if id(part) not in inside and part is not unembedding(module)
        ]  # fmt: skip
        try:
            yield stream
        finally:
            for hook in hooks:
                hook.remove()
