"""One hidden layer of ReLU neurons: the network of the parity papers (Barak et al. 2022, Michaud et al. 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

FAMILY = "small_mlp"


class SmallMLPConfig(PretrainedConfig):
    """Sizes. Weights and biases start uniform in +-1/sqrt(inputs of the layer), as torch's linear layers do."""

    model_type = FAMILY
    attribute_map = {"hidden_size": "d_mlp"}  # noqa: RUF012  (transformers reads a plain dict)

    d_in: int = 30
    d_mlp: int = 100
    d_out: int = 1
    # It reads numbers: no tokens, no positions, no heads.
    num_hidden_layers: int = 1
    num_attention_heads: int = 0
    vocab_size: int = 0
    max_position_embeddings: int = 0


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    return nn.Parameter((2 * torch.rand(*shape) - 1) / math.sqrt(fan_in))


class SmallMLP(PreTrainedModel):
    """Inputs [example d_in] to outputs [example d_out]."""

    config_class = SmallMLPConfig
    _supports_sdpa = True  # there is no attention to support

    def __init__(self, config: SmallMLPConfig) -> None:
        super().__init__(config)
        self.W_in = _uniform(config.d_in, config.d_mlp, fan_in=config.d_in)
        self.b_in = _uniform(config.d_mlp, fan_in=config.d_in)
        self.W_out = _uniform(config.d_mlp, config.d_out, fan_in=config.d_mlp)
        self.b_out = _uniform(config.d_out, fan_in=config.d_mlp)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Parameters are drawn where they are made."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.relu(inputs @ self.W_in + self.b_in) @ self.W_out + self.b_out

    def get_output_embeddings(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """None: it has no tokens."""


AutoConfig.register(FAMILY, SmallMLPConfig)
# The class through which every series' module is built.
AutoModelForCausalLM.register(SmallMLPConfig, SmallMLP)

SITES = {"W_in": lambda p: p["W_in"][None], "W_out": lambda p: p["W_out"][None]}
