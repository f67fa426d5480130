"""Muon for the matrices inside the layers, AdamW for everything else (Jordan et al. 2024).

PyTorch's own Muon computes in bfloat16, which processors without it emulate: on small matrices a step then takes fifty
times as long as in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dynamics.sites.residual import layers_of

# Newton-Schulz coefficients of Jordan et al. 2024: singular values end between about 0.7 and 1.2.
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
MOMENTUM = 0.95


class MuonAndAdamW(torch.optim.AdamW):
    """AdamW, but for the groups marked `muon`, whose updates are orthogonal matrices of the rate's size."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step; the gradients of the matrices are taken away, so that AdamW passes them over."""
        for group in self.param_groups:
            if group["muon"]:
                for matrix in group["params"]:
                    if matrix.grad is not None:
                        self._orthogonal_step(matrix, group)
        return super().step(closure)

    def _orthogonal_step(self, matrix: Tensor, group: dict[str, Any]) -> None:
        gradient, state = matrix.grad, self.state[matrix]
        assert gradient is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
            state["step"] = torch.zeros(())  # AdamW looks for it in every state that it loads
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        ahead = gradient.lerp(state["momentum"], MOMENTUM)  # Nesterov's
        # A tall matrix writes to more outputs than it reads, and may move each as far as a square one does.
        rate = group["lr"] * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(orthogonal(ahead), alpha=-rate)
        matrix.grad = None


def split(model: PreTrainedModel) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The matrices inside the layers, and the rest: vectors, what is stacked by head, and what lies outside."""
    inside = {id(parameter) for parameter in layers_of(model).parameters() if parameter.ndim == 2}
    matrices = [parameter for parameter in model.parameters() if id(parameter) in inside]
    return matrices, [parameter for parameter in model.parameters() if id(parameter) not in inside]


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with its singular values brought near 1, by Newton-Schulz iteration.

    >>> bool((orthogonal(torch.diag(torch.tensor([300.0, 100.0]))).diagonal() - 1).abs().max() < 0.3)
    True
    """
    a, b, c = QUINTIC
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = wide / (wide.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if wide is not matrix else x
