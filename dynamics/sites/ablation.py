"""Heads that say nothing: a second pass in which the output of chosen heads is 0.

With frozen patterns every head attends in the second pass as it did in the first (Olsson et al. 2022: pattern-
preserving ablation): its queries and keys are those of the first pass, and the same masks, soft caps and sinks apply.
What is lost is then what the chosen heads move, and not what later heads would look at without them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from torch import Tensor
from transformers import PreTrainedModel

from dynamics.errors import UsageError
from dynamics.sites import own_attention
from dynamics.sites.kernels import Intervention


def check_silenceable(module: PreTrainedModel) -> None:
    """Raise `UsageError` for a family whose attention cannot be replaced."""
    if own_attention.computes_its_own(module):
        msg = f"model family {module.config.model_type!r} computes its attention in its own way, so no head can " \
              "be silenced; leave the task 'ablation' out"  # fmt: skip
        raise UsageError(msg)


class Remember(Intervention):
    """Keeps the queries and keys of a pass, by layer."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def asked(self, layer: int, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's own, which are kept."""
        self.kept[layer] = query, key
        return query, key


class Silence(Intervention):
    """Sets the output of chosen heads to 0; with `first`, all heads attend as they did in that pass.

    Raises `UsageError` for heads that the model has not, and for a family whose attention cannot be replaced.
    """

    def __init__(
        self, module: PreTrainedModel, heads: Sequence[tuple[int, int]], first: Remember | None = None
    ) -> None:
        check_silenceable(module)
        layers, per_layer = int(module.config.num_hidden_layers), int(module.config.num_attention_heads)
        self.heads: dict[int, list[int]] = defaultdict(list)
        self.first = first
        for layer, head in heads:
            if not (0 <= layer < layers and 0 <= head < per_layer):
                msg = f"task 'ablation' names head {layer}.{head}, which the model has not; its layers are 0 to " \
                      f"{layers - 1} and its heads 0 to {per_layer - 1}"  # fmt: skip
                raise UsageError(msg)
            self.heads[layer].append(head)

    def asked(self, layer: int, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the first pass, or the layer's own."""
        return (query, key) if self.first is None else self.first.kept[layer]

    def said(self, layer: int, output: Tensor) -> Tensor:
        """The output with the chosen heads at 0."""
        if layer not in self.heads:
            return output
        output = output.clone()
        output[:, :, self.heads[layer]] = 0
        return output
