"""How well a language model predicts text."""

from __future__ import annotations

import torch  # noqa: F401  (the doctest's name)
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric


@metric(
    title="Loss",
    unit="nats",
    task="text",
    lower=0.0,
    source="cross-entropy of the next token, mean over positions",
    undefined="a logit is not finite",
)
def loss(token_loss: Float[Tensor, "batch pos"]) -> Float[Tensor, " batch"]:
    """How well does the model predict the next token of the text?

    **Definition.** mean over positions of -ln p(token | tokens before).

    **Reads.** `token_loss` [batch pos].

    **Returns** [batch], nats per token, >= 0. Chance is ln(d_vocab). NaN where a logit is not finite.

    **Source.** The usual language-model loss; sequences have one length, so the mean over examples is the mean over
    tokens.

    **Example.**

    >>> loss(torch.tensor([[2.0, 1.0], [0.0, 1.0]]))
    tensor([1.5000, 0.5000])
    """
    return token_loss.mean(-1)
