"""Gradients of single tokens' losses, in a random projection that keeps their angles.

The gradient of every token would be as large as the model. Each parameter's entry is instead added, with a random
sign, to a random one of a few thousand sums (count sketch; Charikar et al. 2002). The inner product of two unit
vectors then has the expectation that it had and a spread of at most sqrt(2 / sums).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

# What Michaud et al. 2023 leave out by name, "embed" and "layernorm", under the names of other families.
EMBEDDINGS = ("embed", "wte", "wpe", "lm_head")


class Sketch:
    """A seeded random projection of gradients, the same for all."""

    def __init__(self, sizes: Sequence[int], width: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.width = width
        self._place = [torch.randint(width, (size,), generator=generator) for size in sizes]
        self._sign = [2.0 * torch.randint(2, (size,), generator=generator) - 1 for size in sizes]

    def __call__(self, parts: Sequence[Tensor]) -> Tensor:
        """One vector, given as its parts, in `width` numbers."""
        sums = torch.zeros(self.width)
        for part, place, sign in zip(parts, self._place, self._sign, strict=True):
            sums.index_add_(0, place, sign * part.detach().flatten().float().cpu())
        return sums


def token_gradients(
    module: PreTrainedModel, tokens: Tensor, wanted: Tensor, *, width: int = 4096, seed: int = 0
) -> Tensor:
    """The sketched gradients of the losses of chosen tokens, [token width], window by window.

    `tokens` [batch pos]; `wanted` [batch pos-1] is true where the loss of the token after a position is meant. The
    parameters are those of the layers: embeddings and norms are left out, as in Michaud et al. 2023.
    """
    parameters = layer_parameters(module)
    sketch = Sketch([parameter.numel() for parameter in parameters], width, seed)
    made = []
    with torch.enable_grad(), _differentiable(parameters):
        for window, places in zip(tokens, wanted, strict=True):
            if not places.any():
                continue
            logits = module(input_ids=window[None].to(module.device)).logits[0, :-1]
            losses = cross_entropy(logits.float(), window[1:].to(module.device), reduction="none")
            for place in places.nonzero().flatten().tolist():
                parts = torch.autograd.grad(losses[place], parameters, retain_graph=True, materialize_grads=True)
                made.append(sketch(parts))
    return torch.stack(made) if made else torch.zeros(0, width)


def layer_parameters(module: nn.Module) -> list[nn.Parameter]:
    """The parameters between the embeddings, without those of the norms."""
    norms = {id(p) for part in module.modules() if "norm" in type(part).__name__.lower() for p in part.parameters()}
    return [
        parameter for name, parameter in module.named_parameters()
        if id(parameter) not in norms and not any(word in name for word in EMBEDDINGS)
    ]  # fmt: skip


@contextmanager
def _differentiable(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """A measured model's parameters want no gradients; while this lasts, these do."""
    before = [parameter.requires_grad for parameter in parameters]
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter, wants in zip(parameters, before, strict=True):
            parameter.requires_grad_(wants)
