"""The small transformer, and the tensor names under which the papers' checkpoints come."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from conftest import tiny_model
from dynamics.architectures import (
    names_progress_measures,
    names_transformer_lens,
    neurons_of_last_layer,
    recognise,
)
from dynamics.architectures.small_transformer import SmallTransformer, SmallTransformerConfig
from dynamics.checkpoint import Files, Weights, open_weights
from dynamics.errors import CheckpointError, UsageError
from dynamics.model import SeriesModel
from dynamics.training import save

TOKENS = torch.tensor([[0, 3, 1, 4, 1, 5]])


def by_hand(weights: dict[str, Tensor], tokens: Tensor, *, layer_norm: bool, shortformer: bool, mlp: bool) -> Tensor:
    """The logits from the weights alone, one position and one head at a time."""

    def normalised(x: Tensor, name: str) -> Tensor:
        if not layer_norm:
            return x
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt() * weights[f"{name}.w"] + weights[
            f"{name}.b"
        ]

    positions = weights["pos_embed.W_pos"][: len(tokens)]
    residual = weights["embed.W_E"][tokens]
    if not shortformer:
        residual = residual + positions
    for layer in itertools.takewhile(lambda i: f"blocks.{i}.attn.W_Q" in weights, itertools.count()):
        block = f"blocks.{layer}"
        x = normalised(residual, f"{block}.ln1")
        scored = x + positions if shortformer else x
        out = torch.zeros_like(x)
        for head in range(weights[f"{block}.attn.W_Q"].shape[0]):
            q, k = (scored @ weights[f"{block}.attn.W_{name}"][head] for name in "QK")
            v = x @ weights[f"{block}.attn.W_V"][head]
            for i in range(len(tokens)):
                scores = torch.stack([q[i] @ k[j] / math.sqrt(q.shape[-1]) for j in range(i + 1)])
                out[i] += (scores.softmax(0) @ v[: i + 1]) @ weights[f"{block}.attn.W_O"][head]
        residual = residual + out
        if mlp:
            x = normalised(residual, f"{block}.ln2")
            hidden = (x @ weights[f"{block}.mlp.W_in"] + weights[f"{block}.mlp.b_in"]).relu()
            residual = residual + hidden @ weights[f"{block}.mlp.W_out"] + weights[f"{block}.mlp.b_out"]
    return normalised(residual, "ln_final") @ weights["unembed.W_U"]


@pytest.mark.parametrize(("layer_norm", "shortformer", "d_mlp"), list(itertools.product([0, 1], [0, 1], [0, 24])))
def test_logits_are_those_of_the_equations(layer_norm: int, shortformer: int, d_mlp: int) -> None:
    model = tiny_model(layer_norm=bool(layer_norm), shortformer=bool(shortformer), d_mlp=d_mlp, embedding_std=1.0)
    with torch.no_grad():
        for parameter in model.parameters():  # zeros and ones would hide a missing bias or gain
            parameter.add_(torch.randn_like(parameter) * 0.1)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    expected = by_hand(
        weights, TOKENS[0], layer_norm=bool(layer_norm), shortformer=bool(shortformer), mlp=bool(d_mlp)
    )
    torch.testing.assert_close(model(TOKENS).logits[0].detach(), expected, atol=2e-5, rtol=1e-4)


def test_it_saves_and_loads_like_any_transformers_model(tmp_path: Path) -> None:
    model = tiny_model()
    save(model, tmp_path / "step0", None)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "step0")
    assert type(again) is SmallTransformer
    assert AutoConfig.from_pretrained(tmp_path / "step0").num_hidden_layers == 2
    torch.testing.assert_close(again(TOKENS).logits, model(TOKENS).logits, atol=0, rtol=0)


def opened(tensors: dict[str, Tensor]) -> Weights:
    return Weights(tensors, "", 0, "float32", None)


def papers_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """TransformerLens' orientation turned back into that of the paper's own code."""
    turned = {}
    for name, tensor in weights.items():
        kind = name.rsplit(".", 1)[-1]
        if kind in ("W_E", "W_in", "W_out"):
            tensor = tensor.T
        elif kind in ("W_Q", "W_K", "W_V"):
            tensor = tensor.mT
        elif kind == "W_O":
            tensor = tensor.flatten(0, 1).T
        turned[name] = tensor.contiguous()
    return turned | {"blocks.0.attn.mask": torch.ones(3, 3).tril()}


@pytest.mark.parametrize("d_mlp", [0, 24])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_state_dicts_in_either_paper_naming_give_the_same_model(layer_norm: bool, d_mlp: int) -> None:
    model = tiny_model(layer_norm=layer_norm, d_mlp=d_mlp)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    for tensors in (weights | {"blocks.0.attn.IGNORE": torch.tensor(-1e5)}, papers_names(weights)):
        loaded = SeriesModel(opened(tensors))
        torch.testing.assert_close(loaded.module(TOKENS).logits, model(TOKENS).logits.detach(), atol=1e-6, rtol=1e-6)


def test_each_naming_knows_its_own() -> None:
    weights = {name: parameter.detach() for name, parameter in tiny_model().named_parameters()}
    paper = papers_names(weights)
    assert names_transformer_lens.matches(weights)
    assert not names_transformer_lens.matches(paper)
    assert names_progress_measures.matches(paper)
    assert not names_progress_measures.matches(weights)
    with pytest.raises(CheckpointError, match="no architecture is known for tensors tok_emb.weight"):
        recognise(opened({"tok_emb.weight": torch.zeros(2, 2)}))


def test_the_published_network_is_read_as_published(reference_data: Callable[[str], Path]) -> None:
    """Against the paper's own forward pass, written out in its column convention."""
    path = reference_data("series/modular-addition-p113") / "20000.pt"
    theirs = torch.load(path, weights_only=True)
    tokens = torch.tensor([[5, 7, 113], [112, 1, 113]])
    x = theirs["embed.W_E"][:, tokens].permute(1, 2, 0) + theirs["pos_embed.W_pos"]
    q, k, v = (torch.einsum("ihd,bpd->biph", theirs[f"blocks.0.attn.W_{name}"], x) for name in "QKV")
    scores = torch.einsum("biph,biqh->biqp", k, q)
    scores = scores.tril() - 1e10 * (1 - torch.ones(3, 3).tril())
    z = torch.einsum("biph,biqp->biqh", v, (scores / math.sqrt(32)).softmax(-1))
    x = x + torch.einsum("df,bqf->bqd", theirs["blocks.0.attn.W_O"], z.permute(0, 2, 1, 3).flatten(2))
    hidden = (torch.einsum("md,bpd->bpm", theirs["blocks.0.mlp.W_in"], x) + theirs["blocks.0.mlp.b_in"]).relu()
    x = x + torch.einsum("dm,bpm->bpd", theirs["blocks.0.mlp.W_out"], hidden) + theirs["blocks.0.mlp.b_out"]
    model = SeriesModel(open_weights(Files((path,))))
    assert model.sizes()["n_params"] == sum(t.numel() for name, t in theirs.items() if not name.endswith("mask"))
    torch.testing.assert_close(model.module(tokens).logits, x @ theirs["unembed.W_U"], atol=1e-4, rtol=1e-4)


def test_the_neurons_are_heard_at_the_positions_that_the_task_reads() -> None:
    config = SmallTransformerConfig(d_vocab=6, n_ctx=3, d_model=8, n_heads=2, d_head=4, n_layers=2, d_mlp=5,
                                    layer_norm=False)  # fmt: skip
    torch.manual_seed(0)
    module = SmallTransformer(config).eval()
    heard = []
    neurons_of_last_layer(module).register_forward_hook(lambda _, __, out: heard.append(out))
    tokens = torch.tensor([[0, 3, 5]])
    block, residual = module.blocks[1], []
    block.register_forward_pre_hook(lambda _, args: residual.append(args[0]))
    with torch.no_grad():
        module(input_ids=tokens)
        after = residual[0] + block.attn(residual[0], None, False)[0]
        by_hand = torch.relu(after @ block.mlp.W_in + block.mlp.b_in)
    torch.testing.assert_close(heard[0], by_hand)


def test_a_model_without_neurons_says_so() -> None:
    with pytest.raises(UsageError, match="site 'mlp_post' is not mapped .* or it has no MLP; it is for small_transf"):
        neurons_of_last_layer(SmallTransformer(SmallTransformerConfig(d_mlp=0)))
