"""The matrices of attention heads, for every family: those that its own forward pass computes with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from dynamics.architectures import weight_site
from dynamics.architectures.head_matrices import FAMILIES, NAMES
from dynamics.errors import UsageError
from dynamics.forward import run
from dynamics.sites.residual import layers_of
from metrics.attention import Attention
from saved_models import configuration
from tiny_models import eager_outputs, random_tokens

POST_NORM = ("olmo2", "olmo3")
WAYS: dict[str, dict[str, Any]] = {family: {} for family in FAMILIES} | {
    "falcon, evenly biased": {"alibi": True},
    "falcon, one key for all": {"alibi": True, "multi_query": True, "new_decoder_architecture": False},
    "falcon, grouped": {"alibi": True, "new_decoder_architecture": True, "num_kv_heads": 2},
    "falcon, head by head": {"alibi": True, "multi_query": False, "new_decoder_architecture": False},
    "opt, normalised afterwards": {"do_layer_norm_before": False},
    "opt, embedded in half of the width": {"do_layer_norm_before": False, "word_embed_proj_dim": 16},
}


def model_of(way: str) -> PreTrainedModel:
    """Random weights and gains, wide enough that an error would show; no biases, which the sites leave out."""
    config = configuration(way.partition(",")[0])
    for name, value in WAYS[way].items():
        setattr(config, name, value)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.zero_() if name.endswith("bias") else parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.requires_grad_(False)


class Seen:
    """What the second layer and its attention are given and give."""

    def __init__(self, model: PreTrainedModel, tokens: Tensor) -> None:
        layer = layers_of(model)[1]
        name = next(n for n, _ in layer.named_modules() if n.split(".")[-1] in ("self_attn", "attention", "attn",
                                                                              "self_attention"))  # fmt: skip
        self.attention: nn.Module = layer.get_submodule(name)
        hooks = [layer.register_forward_pre_hook(self._layer, with_kwargs=True),
                 self.attention.register_forward_hook(self._attention, with_kwargs=True)]  # fmt: skip
        self.pattern = eager_outputs(model, tokens)[1][1]
        for hook in hooks:
            hook.remove()

    def _layer(self, _: Any, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        self.residual = args[0] if args else kwargs["hidden_states"]

    def _attention(self, _: Any, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Any) -> None:
        self.read = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        self.written = output if isinstance(output, Tensor) else output[0]


def normalised(x: Tensor, *, centred: bool, eps: float = 1e-5) -> Tensor:
    x = x - x.mean(-1, keepdim=True) if centred else x
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


@pytest.mark.parametrize("way", WAYS)
@torch.inference_mode()
def test_the_sites_are_the_ones_that_the_model_computes_with(way: str) -> None:
    model, tokens = model_of(way), random_tokens(2, 9)
    seen, config = Seen(model, tokens), model.config
    parameters = dict(model.named_parameters())
    site = {name: weight_site(config, name, parameters) for name in NAMES}
    heads, d_model = config.num_attention_heads, config.hidden_size
    d_head = site["W_Q"].shape[-1]
    assert site["W_Q"].shape == site["W_K"].shape == site["W_V"].shape == (2, heads, d_model, d_head)
    assert site["W_O"].shape == (2, heads, d_head, d_model)
    z = torch.einsum("bhqk,bkd,hde,hef->bqf", seen.pattern, seen.read, site["W_V"][1], site["W_O"][1])
    # Some families add the residual stream inside their attention.
    assert any(torch.allclose(z + rest, seen.written, atol=2e-5, rtol=1e-4) for rest in (0, seen.residual))
    rows = [normalised(seen.residual, centred=centred) * site["ln1_w"][1] for centred in (True, False)]
    is_read = [torch.allclose(row, seen.read, atol=2e-4, rtol=1e-3) for row in rows]
    if way in POST_NORM or way.startswith("opt, "):
        assert torch.equal(seen.read, seen.residual)
        assert (site["ln1_w"] == 1).all()
    else:
        assert any(is_read)


# Falcon's rotary queries stay inside its attention; its other ways take the same matrices apart, without rotation.
@pytest.mark.parametrize("way", [way for way in WAYS if way != "falcon"])
@torch.inference_mode()
def test_queries_and_keys_are_those_of_the_module(way: str) -> None:
    """By the projections themselves, where they are modules of their own; else from what they give together."""
    model, tokens = model_of(way), random_tokens(2, 9)
    seen, parameters = Seen(model, tokens), dict(model.named_parameters())
    query, key = (torch.einsum("bpd,hde->bphe", seen.read, weight_site(model.config, name, parameters)[1])
                  for name in ("W_Q", "W_K"))  # fmt: skip
    inside = dict(seen.attention.named_modules())
    separate = next((name for name in inside if name.endswith("q_proj")), None)
    if separate is not None:
        assert torch.allclose(inside[separate](seen.read), query.flatten(2), atol=1e-5)
        keys = inside[separate.replace("q_proj", "k_proj")](seen.read).unflatten(-1, (-1, key.shape[-1]))
        assert torch.allclose(keys.repeat_interleave(key.shape[2] // keys.shape[2], 2), key, atol=1e-5)
        return
    held: dict[int, Attention] = {}
    run(model, tokens, lambda layer, attention: held.update({layer: attention}))
    if held[1].query.shape[-1] == query.shape[-1]:  # rotary positions leave the first one as it is
        torch.testing.assert_close(query[:, 0], held[1].query[:, :, 0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(key[:, 0], held[1].key[:, :, 0], atol=1e-5, rtol=1e-4)
        return
    # ALiBi adds to the scores what grows evenly with the key's position, and nothing else.
    scores = torch.einsum("bqhe,bkhe->bhqk", query, key) * query.shape[-1] ** -0.5
    rest = (seen.pattern.log() - scores)[:, :, -1].diff(dim=-1)
    torch.testing.assert_close(rest, rest[:1, :, :1].expand_as(rest), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_the_final_gain_is_that_of_the_norm_that_the_unembedding_reads(family: str) -> None:
    model, tokens = model_of(family), random_tokens(2, 9)
    last: list[Tensor] = []
    hook = layers_of(model)[-1].register_forward_hook(
        lambda _, __, output: last.append(output if isinstance(output, Tensor) else output[0])
    )
    read: list[Tensor] = []
    head = model.get_output_embeddings()
    assert isinstance(head, nn.Module)
    other = head.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    model(input_ids=tokens, use_cache=False)
    hook.remove()
    other.remove()
    gain = weight_site(model.config, "ln_final_w", dict(model.named_parameters()))
    ours = [normalised(last[0], centred=centred) * gain for centred in (True, False)]
    assert any(torch.allclose(one, read[0], atol=2e-4, rtol=1e-3) for one in ours)


@pytest.mark.parametrize("way", [way for way in WAYS if way.startswith("opt")])
@torch.inference_mode()
def test_the_embeddings_are_those_of_the_stream_where_there_are_maps_between(way: str) -> None:
    """Without positions the first layer is given W_E; what the last one gives makes logits by W_U."""
    model, tokens, streams = model_of(way), random_tokens(2, 9), []
    model.get_parameter("model.decoder.embed_positions.weight").zero_()
    layers = layers_of(model)
    layers[0].register_forward_pre_hook(lambda _, args, kwargs: streams.append((*args, *kwargs.values())[0]),
                                        with_kwargs=True)  # fmt: skip
    layers[-1].register_forward_hook(lambda _, __, said: streams.append(said if isinstance(said, Tensor) else said[0]))
    logits = model(input_ids=tokens, use_cache=False).logits
    parameters = dict(model.named_parameters())
    embed, unembed, gain = (weight_site(model.config, name, parameters) for name in ("W_E", "W_U", "ln_final_w"))
    torch.testing.assert_close(streams[0], embed[tokens])
    final = normalised(streams[1], centred=True) * gain if model.config.do_layer_norm_before else streams[1]
    torch.testing.assert_close(final @ unembed, logits, atol=1e-3, rtol=1e-3)


def test_a_family_without_a_map_names_those_that_have_one() -> None:
    with pytest.raises(UsageError, match="site 'W_Q' is not mapped for model family 'bert'; it is for .*falcon"):
        weight_site(configuration("bert"), "W_Q", {})
