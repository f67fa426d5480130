"""Modular arithmetic on all training pairs at once, as in Nanda et al. 2023: full batch, AdamW, strong weight decay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, embedding

from dynamics.architectures.small_transformer import SmallTransformer, SmallTransformerConfig
from dynamics.errors import UsageError
from dynamics.tasks import Subject, TaskSettings, build_task
from dynamics.tasks.modular_addition import order_of
from dynamics.training.loop import Trainee, seeded


class Model(TaskSettings):
    """The paper's one-layer transformer: ReLU, no LayerNorm, learned positions, biases in the MLP alone."""

    d_model: int = Field(default=128, ge=1)
    n_heads: int = Field(default=4, ge=1)
    d_mlp: int = Field(default=512, ge=1)
    n_layers: int = Field(default=1, ge=1)


def prepare(model: Model, task: Mapping[str, Any], seed: int) -> Trainee:
    """The network at its initial weights; every step sees the whole training set. The seed moves the weights alone:
    the split belongs to the task."""
    p = task.get("p") or order_of(str(task.get("operation")))
    if p is None:
        msg = "training needs the modulus; set 'p' in [tasks.modular_addition]"
        raise UsageError(msg)
    data = build_task("modular_addition", task, Subject(p + 1, 3, None, None)).fields
    tokens, answer = data["tokens"][data["train"]], data["answer"][data["train"]]
    network = _network(model, p, seed)

    def loss(_: int) -> Tensor:
        # In float64, as the paper says: the loss goes down to 1e-7, where float32 has no digits left.
        return cross_entropy(answers(network, tokens)[:, :p].double(), answer)

    return Trainee(network, loss)


def answers(network: SmallTransformer, tokens: Tensor) -> Tensor:
    """[example d_vocab] The logits at the last position, which holds the same token in every example.

    One layer does no more there than look at a few vectors for each token and position: its keys and values are made
    once for all examples, and queries and neurons at the other positions, which nobody reads, not at all. That is a
    fifth of the time of the whole pass at p = 113.
    """
    if network.config.n_layers > 1:
        return network(input_ids=tokens).logits[:, -1]
    n_ctx, weights = tokens.shape[1], dict(network.named_parameters())
    block: Any = network.blocks[0]
    residual = weights["embed.W_E"] + weights["pos_embed.W_pos"][:n_ctx, None]
    here = residual[-1, tokens[0, -1]]
    query = torch.einsum("d,hde->he", here, block.attn.W_Q) * network.config.d_head**-0.5
    key, value = (torch.einsum("ptd,hde->pthe", residual, weight) for weight in (block.attn.W_K, block.attn.W_V))
    row = tokens + torch.arange(n_ctx) * network.config.d_vocab
    scores = embedding(row, torch.einsum("he,pthe->pth", query, key).flatten(0, 1))
    values = embedding(row, value.flatten(2).flatten(0, 1)).unflatten(-1, query.shape)
    z = (scores.softmax(1)[..., None] * values).sum(1)  # [example head d_head]
    residual = here + z.flatten(1) @ block.attn.W_O.flatten(0, 1)
    return network.unembed(residual + block.mlp(residual))


def _network(model: Model, p: int, seed: int) -> SmallTransformer:
    if model.d_model % model.n_heads:
        msg = f"d_model = {model.d_model} is not a multiple of n_heads = {model.n_heads}; change one of them"
        raise UsageError(msg)
    with seeded(seed):
        network = SmallTransformer(SmallTransformerConfig(
            d_vocab=p + 1, n_ctx=3, n_layers=model.n_layers, n_heads=model.n_heads, d_model=model.d_model,
            d_head=model.d_model // model.n_heads, d_mlp=model.d_mlp, layer_norm=False,
        ))  # fmt: skip
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("mlp.W_out"):  # the paper draws every matrix with spread 1/sqrt(d_model), this one too
                parameter.mul_(math.sqrt(model.d_mlp / model.d_model))
    return network
