"""The small transformer of the toy-model papers, as a transformers model.

With or without LayerNorm, MLPs and biases; learned positions, added to the residual stream or (shortformer) to the
queries and keys only. Parameters have TransformerLens' names and orientation, so that the papers' own checkpoints
load into it; being a transformers model, it saves, loads and is measured like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dynamics.architectures import numbered

FAMILY = "small_transformer"


class SoLU(nn.Module):
    """x softmax(x) over the neurons (Elhage et al. 2022, "Softmax Linear Units")."""

    def forward(self, neurons: Tensor) -> Tensor:
        return neurons * neurons.softmax(-1)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "gelu": nn.GELU, "gelu_new": partial(nn.GELU, "tanh"), "silu": nn.SiLU, "solu": SoLU,
}  # fmt: skip
NEURON_NORM = "_ln"  # "solu_ln" normalises the neurons after their activation


class SmallTransformerConfig(PretrainedConfig):
    """Sizes in TransformerLens' names. `d_mlp = 0` is attention only.

    Norms without parameters (`norm_parameters = False`) are what is left when these are folded into the weights that
    follow; `final_rms` leaves out the last norm's centring; `solu_ln` has a norm inside the MLP.
    `embedding_std` is the spread of both embeddings at the start; None is 1/sqrt(d_model), as in the grokking papers.
    """

    model_type = FAMILY
    attribute_map = {  # noqa: RUF012  (transformers reads a plain dict)
        "hidden_size": "d_model",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "vocab_size": "d_vocab",
        "max_position_embeddings": "n_ctx",
    }

    d_vocab: int = 64
    n_ctx: int = 64
    n_layers: int = 2
    n_heads: int = 4
    d_model: int = 64
    d_head: int = 16
    d_mlp: int = 0
    activation: str = "relu"
    layer_norm: bool = True
    norm_parameters: bool = True
    neuron_norm_parameters: bool = True
    final_rms: bool = False
    layer_norm_eps: float = 1e-5
    shortformer: bool = False
    attention_bias: bool = False
    mlp_bias: bool = True
    unembed_bias: bool = False
    embedding_std: float | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    tie_word_embeddings: bool = False


def _normal(*shape: int, fan_in: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) / math.sqrt(fan_in))


class LayerNorm(nn.Module):
    """LayerNorm with TransformerLens' parameter names, or without parameters; `rms` does not centre."""

    def __init__(self, width: int, eps: float, *, parameters: bool = True, rms: bool = False) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(width)) if parameters else None
        self.b = nn.Parameter(torch.zeros(width)) if parameters and not rms else None
        self.eps, self.rms = eps, rms

    def forward(self, residual: Tensor) -> Tensor:
        if self.rms:
            return nn.functional.rms_norm(residual, residual.shape[-1:], self.w, self.eps)
        return nn.functional.layer_norm(residual, residual.shape[-1:], self.w, self.b, self.eps)


def _norm(config: SmallTransformerConfig, *, rms: bool = False) -> nn.Module:
    if not config.layer_norm:
        return nn.Identity()
    return LayerNorm(config.d_model, config.layer_norm_eps, parameters=config.norm_parameters, rms=rms)


class Attention(nn.Module):
    """Multi-head causal attention; the kernel is the one that the configuration names."""

    is_causal = True

    def __init__(self, config: SmallTransformerConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer
        heads, d_head, d_model = config.n_heads, config.d_head, config.d_model
        self.W_Q, self.W_K, self.W_V = (_normal(heads, d_model, d_head, fan_in=d_model) for _ in range(3))
        self.W_O = _normal(heads, d_head, d_model, fan_in=heads * d_head)
        self.b_Q, self.b_K, self.b_V = (
            nn.Parameter(torch.zeros(heads, d_head)) if config.attention_bias else None for _ in range(3)
        )
        self.b_O = nn.Parameter(torch.zeros(d_model)) if config.attention_bias else None

    def forward(self, residual: Tensor, positions: Tensor | None, output_attentions: bool) -> tuple[Tensor, Any]:
        scored = residual if positions is None else residual + positions
        query = _project(scored, self.W_Q, self.b_Q)
        key = _project(scored, self.W_K, self.b_K)
        value = _project(residual, self.W_V, self.b_V)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation or "eager", eager)
        if output_attentions:
            attend = eager
        # z [batch pos head d_head]
        z, pattern = attend(self, query, key, value, None, scaling=self.config.d_head**-0.5)
        out = z.flatten(2) @ self.W_O.flatten(0, 1)
        return out if self.b_O is None else out + self.b_O, pattern


def _project(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[batch pos d_model] -> [batch head pos d_head]."""
    heads, d_model, d_head = weight.shape
    flat = x @ weight.transpose(0, 1).reshape(d_model, heads * d_head)
    projected = flat.unflatten(-1, (heads, d_head))
    return (projected if bias is None else projected + bias).transpose(1, 2)


def eager(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, **_: Any
) -> tuple[Tensor, Tensor]:
    """Attention with the pattern spelt out, for the outputs that fused kernels do not give."""
    scores = query @ key.transpose(2, 3) * scaling
    seen = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
    pattern = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    return (pattern @ value).transpose(1, 2), pattern


class MLP(nn.Module):
    """One hidden layer."""

    def __init__(self, config: SmallTransformerConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation.removesuffix(NEURON_NORM)]()
        self.ln = None
        if config.activation.endswith(NEURON_NORM):
            self.ln = LayerNorm(config.d_mlp, config.layer_norm_eps, parameters=config.neuron_norm_parameters)
        self.W_in = _normal(config.d_model, config.d_mlp, fan_in=config.d_model)
        self.W_out = _normal(config.d_mlp, config.d_model, fan_in=config.d_mlp)
        self.b_in = nn.Parameter(torch.zeros(config.d_mlp)) if config.mlp_bias else None
        self.b_out = nn.Parameter(torch.zeros(config.d_model)) if config.mlp_bias else None

    def forward(self, residual: Tensor) -> Tensor:
        hidden = residual @ self.W_in
        neurons = self.activation(hidden if self.b_in is None else hidden + self.b_in)
        out = (neurons if self.ln is None else self.ln(neurons)) @ self.W_out
        return out if self.b_out is None else out + self.b_out


class Block(nn.Module):
    """Attention, then the MLP where there is one; both read a normalised residual stream where asked."""

    def __init__(self, config: SmallTransformerConfig, layer: int) -> None:
        super().__init__()
        self.attn = Attention(config, layer)
        self.mlp = MLP(config) if config.d_mlp else None
        self.ln1 = _norm(config)
        self.ln2 = _norm(config) if config.d_mlp else nn.Identity()

    def forward(self, residual: Tensor, positions: Tensor | None, output_attentions: bool) -> tuple[Tensor, Any]:
        out, pattern = self.attn(self.ln1(residual), positions, output_attentions)
        residual = residual + out
        return residual if self.mlp is None else residual + self.mlp(self.ln2(residual)), pattern


class Embed(nn.Module):
    """A table of vectors under the parameter name that TransformerLens gives it."""

    def __init__(self, name: str, rows: int, d_model: int, std: float | None) -> None:
        super().__init__()
        self.table = name
        spread = 1 / math.sqrt(d_model) if std is None else std
        setattr(self, name, nn.Parameter(torch.randn(rows, d_model) * spread))

    def forward(self, index: Tensor) -> Tensor:
        return getattr(self, self.table)[index]


class Unembed(nn.Module):
    """Residual stream to logits."""

    def __init__(self, config: SmallTransformerConfig) -> None:
        super().__init__()
        self.W_U = _normal(config.d_model, config.d_vocab, fan_in=config.d_vocab)
        self.b_U = nn.Parameter(torch.zeros(config.d_vocab)) if config.unembed_bias else None

    def forward(self, residual: Tensor) -> Tensor:
        logits = residual @ self.W_U
        return logits if self.b_U is None else logits + self.b_U


class SmallTransformer(PreTrainedModel):
    """The causal language model."""

    config_class = SmallTransformerConfig
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: SmallTransformerConfig) -> None:
        super().__init__(config)
        self.embed = Embed("W_E", config.d_vocab, config.d_model, config.embedding_std)
        self.pos_embed = Embed("W_pos", config.n_ctx, config.d_model, config.embedding_std)
        self.blocks = nn.ModuleList([Block(config, layer) for layer in range(config.n_layers)])
        self.ln_final = _norm(config, rms=config.final_rms)
        self.unembed = Unembed(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Parameters are drawn where they are made."""

    def forward(self, input_ids: Tensor, *, output_attentions: bool = False, **_: Any) -> CausalLMOutput:
        positions = self.pos_embed(torch.arange(input_ids.shape[1], device=input_ids.device))
        residual, patterns = self.embed(input_ids), []
        if not self.config.shortformer:
            residual, positions = residual + positions, None
        for block in self.blocks:
            residual, pattern = block(residual, positions, output_attentions)
            patterns.append(pattern)
        logits = self.unembed(self.ln_final(residual))
        return CausalLMOutput(logits=logits, attentions=tuple(patterns) if output_attentions else None)

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def get_output_embeddings(self) -> nn.Module:
        return self.unembed


AutoConfig.register(FAMILY, SmallTransformerConfig)
AutoModelForCausalLM.register(SmallTransformerConfig, SmallTransformer)

NEURONS = "blocks.{}.mlp.activation"
SITES = {
    "W_E": lambda p: p["embed.W_E"],
    "W_pos": lambda p: p["pos_embed.W_pos"],
    "W_Q": lambda p: torch.stack(numbered(p, "blocks.{}.attn.W_Q")),
    "W_K": lambda p: torch.stack(numbered(p, "blocks.{}.attn.W_K")),
    "W_V": lambda p: torch.stack(numbered(p, "blocks.{}.attn.W_V")),
    "W_O": lambda p: torch.stack(numbered(p, "blocks.{}.attn.W_O")),
    "ln1_w": lambda p: torch.stack(
        numbered(p, "blocks.{}.ln1.w") or [torch.ones_like(w[0, :, 0]) for w in numbered(p, "blocks.{}.attn.W_V")]
    ),
    "ln_final_w": lambda p: p.get("ln_final.w", torch.ones_like(p["unembed.W_U"][:, 0])),
    "W_U": lambda p: p["unembed.W_U"],
    "W_in": lambda p: torch.stack(numbered(p, "blocks.{}.mlp.W_in")),
    "W_out": lambda p: torch.stack(numbered(p, "blocks.{}.mlp.W_out")),
}
