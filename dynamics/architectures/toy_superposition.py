"""The toy autoencoder of 'Toy Models of Superposition' (Elhage et al. 2022): x' = ReLU(W^T W x + b)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

FAMILY = "toy_superposition"


class ToySuperpositionConfig(PretrainedConfig):
    """`n_features` numbers squeezed into `d_hidden`; `weight_scale` shrinks the Xavier initial weights."""

    model_type = FAMILY
    attribute_map = {"hidden_size": "d_hidden"}  # noqa: RUF012  (transformers reads a plain dict)

    n_features: int = 5
    d_hidden: int = 2
    weight_scale: float = 1.0
    # It reads numbers: no tokens, no positions, no heads.
    num_hidden_layers: int = 1
    num_attention_heads: int = 0
    vocab_size: int = 0
    max_position_embeddings: int = 0


class ToySuperposition(PreTrainedModel):
    """Inputs [example feature] to their reconstruction, of the same shape."""

    config_class = ToySuperpositionConfig
    _supports_sdpa = True  # there is no attention to support

    def __init__(self, config: ToySuperpositionConfig) -> None:
        super().__init__(config)
        spread = config.weight_scale * math.sqrt(2 / (config.n_features + config.d_hidden))  # Xavier's
        self.W = nn.Parameter(spread * torch.randn(config.d_hidden, config.n_features))
        self.b = nn.Parameter(torch.zeros(config.n_features))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Parameters are drawn where they are made."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.relu(inputs @ self.W.T @ self.W + self.b)

    def get_output_embeddings(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """None: it has no tokens."""


AutoConfig.register(FAMILY, ToySuperpositionConfig)
# The class through which every series' module is built.
AutoModelForCausalLM.register(ToySuperpositionConfig, ToySuperposition)

SITES = {"W": lambda p: p["W"]}
