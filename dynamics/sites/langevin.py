"""The losses of weights around a checkpoint, sampled by stochastic gradient Langevin dynamics.

The noise is drawn here, from the task's seed, and not in the metric that reads the losses: that metric is then plain
arithmetic, and the same seed gives the same chains. The model is called with weights of the chain's own, so that its
weights are not written to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

Weights = Mapping[str, Tensor]
# The mean loss of some weights over examples of the given numbers.
Loss = Callable[[Weights, Tensor], Tensor]


@dataclass(frozen=True)
class Sampling:
    """How to sample.

    n_beta        inverse temperature
    localization  how strongly the weights are pulled back to where they started
    step_size     of the dynamics; the variance of the noise
    """

    n_beta: float
    localization: float
    step_size: float
    chains: int
    draws: int
    batch_size: int
    seed: int


def sample(loss: Loss, start: Weights, n_examples: int, how: Sampling) -> Tensor:
    """[chain draw], the loss of the mini-batch at each step of every chain, before the step is taken.

    A step adds -(step_size / 2) (n_beta grad L(w) + localization (w - start)) + N(0, step_size) to each weight, as
    in Lau et al. 2023 and in devinterp. Mini-batches are drawn without replacement until all examples were seen.
    """
    chains = []
    for chain in range(how.chains):
        random = torch.Generator().manual_seed(how.seed * 1_000_003 + chain)
        chains.append(_chain(loss, start, _batches(n_examples, how.batch_size, random), how, random))
    return torch.stack(chains)


def _chain(loss: Loss, start: Weights, batches: Iterator[Tensor], how: Sampling, random: torch.Generator) -> Tensor:
    weights = {name: value.detach().float().clone().requires_grad_() for name, value in start.items()}
    losses = []
    for _ in range(how.draws):
        with torch.enable_grad():
            value = loss(weights, next(batches))
            gradients = torch.autograd.grad(value, list(weights.values()), materialize_grads=True)
        losses.append(value.detach().double().cpu())
        with torch.no_grad():
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                pull = how.n_beta * gradient + how.localization * (weight - start[name])
                noise = torch.randn(weight.shape, generator=random).to(weight.device)
                weight.add_(pull, alpha=-how.step_size / 2).add_(noise, alpha=how.step_size**0.5)
    return torch.stack(losses)


def _batches(n_examples: int, size: int, random: torch.Generator) -> Iterator[Tensor]:
    size = min(size, n_examples)
    while True:
        order = torch.randperm(n_examples, generator=random)
        yield from order[: n_examples - n_examples % size].split(size)


def around(module: nn.Module, tokens: Tensor, how: Sampling) -> dict[str, Tensor]:
    """The losses of chains that start at a model's weights, and the loss there, over all of the tokens."""

    def loss(weights: Weights, rows: Tensor) -> Tensor:
        chosen = tokens[rows.to(tokens.device)]
        logits = functional_call(module, dict(weights), kwargs={"input_ids": chosen, "use_cache": False}).logits
        return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), chosen[:, 1:].flatten())

    start = {name: parameter.detach() for name, parameter in module.named_parameters()}
    with torch.no_grad():
        parts = torch.arange(len(tokens)).split(how.batch_size)
        mean = sum(loss(start, part).double().cpu() * len(part) for part in parts) / len(tokens)
    return {"langevin_losses": sample(loss, start, len(tokens), how), "langevin_start": torch.as_tensor(mean)}
