"""The small transformer on sequences of numbers: in-context linear regression (Hoogland et al. 2024).

A token is `d_vocab` numbers, [0 x_1 .. x_D] for an input and [y 0 .. 0] for its answer in turn, and the embedding is
a matrix product. What it predicts after each input is its answer: the first of the numbers unembedded there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from dynamics.architectures import small_transformer
from dynamics.architectures.small_transformer import Embed, SmallTransformer, SmallTransformerConfig

FAMILY = "regression_transformer"


class RegressionTransformerConfig(SmallTransformerConfig):
    """Sizes as of the small transformer; by default those of Hoogland et al., for D = 4 and 8 pairs."""

    model_type = FAMILY

    d_vocab: int = 5
    n_ctx: int = 16
    d_mlp: int = 64
    unembed_bias: bool = True


class Projection(Embed):
    """Numbers to the residual stream; a one-hot token would pick a row, as from any embedding."""

    def forward(self, index: Tensor) -> Tensor:
        return index @ getattr(self, self.table)


class RegressionTransformer(SmallTransformer):
    """Inputs [... pos d_vocab] to predicted answers [... pair], one for every second position."""

    config_class = RegressionTransformerConfig

    def __init__(self, config: RegressionTransformerConfig) -> None:
        super().__init__(config)
        self.embed = Projection("W_E", config.d_vocab, config.d_model, config.embedding_std)
        with torch.no_grad():  # first predictions of spread 1, whatever the number of numbers in a token
            self.unembed.W_U.mul_(math.sqrt(config.d_vocab / config.d_model))

    def forward(self, inputs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        predicted = super().forward(inputs.flatten(0, -3)).logits
        assert predicted is not None
        return predicted[:, ::2, 0].unflatten(0, inputs.shape[:-2])

    def get_output_embeddings(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """None: it has no tokens to choose from."""


AutoConfig.register(FAMILY, RegressionTransformerConfig)
# The class through which every series' module is built.
AutoModelForCausalLM.register(RegressionTransformerConfig, RegressionTransformer)

SITES = small_transformer.SITES
