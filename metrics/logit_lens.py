"""What the model would say if it stopped at a layer: the logit lens (nostalgebraist 2020; Belrose et al. 2023)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric

LogProbs = Float[Tensor, "batch n d_vocab"]
BLOG = "nostalgebraist 2020, 'interpreting GPT: the logit lens'"
TUNED = "Belrose et al. 2023, 'Eliciting Latent Predictions from Transformers with the Tuned Lens'"


@metric(
    title="Logit lens: divergence from the output", unit="nats", task="text", axes=("layer",), lower=0.0,
    source=f"{BLOG}; {TUNED}", undefined="a logit is not finite",
)  # fmt: skip
def logit_lens_kl(lens: LogProbs, lens_target: LogProbs) -> Float[Tensor, " batch"]:
    """How far is what a layer would say from what the model says?

    **Definition.** mean over the read positions of KL(output || lens): sum p (ln p - ln q), with p the model's
    prediction and q that of the final norm and the unembedding applied to the layer's residual stream.

    **Reads.** `lens`, one layer at a time, and `lens_target`, the model's own: log-probabilities at eight positions
    spread evenly over the sequence.

    **Returns** [batch], nats, >= 0; 0 at the last layer. NaN where a logit is not finite.

    **Source.** nostalgebraist 2020; the direction is that of Belrose et al. 2023. Departure: at eight positions of
    each sequence. It is not the tuned lens: early layers that use another basis read as far away.

    **Example.** The model is sure of one of four tokens, the layer finds all alike: ln 4.

    >>> target = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]).log()
    >>> logit_lens_kl(torch.full((1, 1, 4), 0.25).log(), target)
    tensor([1.3863])
    """
    shares = lens_target.exp()
    return (torch.xlogy(shares, shares) - torch.where(shares > 0, shares * lens, 0.0)).sum(-1).mean(-1)


@metric(
    title="Logit lens: agreement with the output", unit="fraction", task="text", axes=("layer",), lower=0.0,
    upper=1.0, source=BLOG,
)  # fmt: skip
def logit_lens_agreement(lens: LogProbs, lens_target: LogProbs) -> Float[Tensor, " batch"]:
    """How often would a layer already give the token that the model gives?

    **Definition.** share of the read positions where the likeliest token of the layer's lens is the model's.

    **Reads.** `lens`, one layer at a time, and `lens_target`: log-probabilities at eight positions of the sequence.

    **Returns** [batch], 0..1; 1 at the last layer. A lens that says nothing agrees as often as the model gives its
    first choice. Never NaN.

    **Source.** nostalgebraist 2020. Departure: at eight positions of each sequence.

    **Example.** They agree at the first of two positions:

    >>> lens = torch.tensor([[[0.9, 0.1], [0.9, 0.1]]]).log()
    >>> logit_lens_agreement(lens, torch.tensor([[[0.6, 0.4], [0.4, 0.6]]]).log())
    tensor([0.5000])
    """
    return (lens.argmax(-1) == lens_target.argmax(-1)).float().mean(-1)


@metric(
    title="Logit lens: entropy", unit="nats", task="text", axes=("layer",), lower=0.0, source=f"{BLOG}; {TUNED}",
    undefined="a logit is not finite",
)  # fmt: skip
def logit_lens_entropy(lens: LogProbs) -> Float[Tensor, " batch"]:
    """How undecided is what a layer would say?

    **Definition.** mean over the read positions of the entropy of the lens's prediction.

    **Reads.** `lens`, one layer at a time: log-probabilities at eight positions of the sequence.

    **Returns** [batch], nats, 0..ln d_vocab; at the last layer that of the model. NaN where a logit is not finite.

    **Source.** nostalgebraist 2020; Belrose et al. 2023. Departure: at eight positions of each sequence.

    **Example.** Four tokens alike: ln 4.

    >>> logit_lens_entropy(torch.full((1, 1, 4), 0.25).log())
    tensor([1.3863])
    """
    shares = lens.exp()
    return -torch.where(shares > 0, shares * lens, shares).sum(-1).mean(-1)
