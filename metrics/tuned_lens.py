"""What a layer holds of the prediction, in whatever basis it holds it: the tuned lens (Belrose et al. 2023)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric

LogProbs = Float[Tensor, "batch n d_vocab"]
BELROSE = "Belrose et al. 2023, 'Eliciting Latent Predictions from Transformers with the Tuned Lens'"


@metric(
    title="Tuned lens: divergence from the output", unit="nats", task="tuned_lens", axes=("layer",), lower=0.0,
    source=BELROSE, undefined="a logit is not finite",
)  # fmt: skip
def tuned_lens_kl(tuned_lens: LogProbs, lens_target: LogProbs) -> Float[Tensor, " batch"]:
    """How far is what a layer knows, in its own basis, from what the model says?

    **Definition.** mean over the read positions of KL(output || lens), with the lens the final norm and the
    unembedding of h + A h + b: h is the layer's residual stream, A and b are trained for this layer and checkpoint to
    make that divergence small on other text.

    **Reads.** `tuned_lens`, one layer at a time, and `lens_target`, the model's own: log-probabilities at eight
    positions of every window that the lens was not trained on.

    **Returns** [batch], nats, >= 0; 0 at the last layer, which is read as it is. NaN where a logit is not finite.

    **Source.** Belrose et al. 2023. Departures: Adam for a few steps on a few thousand positions, both stored with
    the task, where the paper trains on millions; a translator that is no better than none on the text it was trained
    on is left out.

    **Example.** The model is sure of one of four tokens, the layer finds all alike: ln 4.

    >>> target = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]).log()
    >>> tuned_lens_kl(torch.full((1, 1, 4), 0.25).log(), target)
    tensor([1.3863])
    """
    return _divergence(tuned_lens, lens_target)


@metric(
    title="Tuned lens: agreement with the output", unit="fraction", task="tuned_lens", axes=("layer",), lower=0.0,
    upper=1.0, source=BELROSE,
)  # fmt: skip
def tuned_lens_agreement(tuned_lens: LogProbs, lens_target: LogProbs) -> Float[Tensor, " batch"]:
    """How often does a layer, in its own basis, already hold the token that the model gives?

    **Definition.** share of the read positions where the likeliest token of the layer's tuned lens is the model's.

    **Reads.** As `tuned_lens_kl`.

    **Returns** [batch], 0..1; 1 at the last layer. A lens that knows no context agrees as often as the model gives
    its first choice. Never NaN.

    **Source.** Belrose et al. 2023. Departures: as `tuned_lens_kl`.

    **Example.** They agree at the first of two positions:

    >>> lens = torch.tensor([[[0.9, 0.1], [0.9, 0.1]]]).log()
    >>> tuned_lens_agreement(lens, torch.tensor([[[0.6, 0.4], [0.4, 0.6]]]).log())
    tensor([0.5000])
    """
    return (tuned_lens.argmax(-1) == lens_target.argmax(-1)).float().mean(-1)


@metric(
    title="What tuning takes from the logit lens", unit="nats", task="tuned_lens", axes=("layer",), source=BELROSE,
    undefined="a logit is not finite",
)  # fmt: skip
def tuned_lens_gain(lens: LogProbs, tuned_lens: LogProbs, lens_target: LogProbs) -> Float[Tensor, " batch"]:
    """How much of a layer's distance from the output is only that it uses another basis?

    **Definition.** The divergence of the logit lens from the output less that of the tuned lens, at the same
    positions.

    **Reads.** `lens`, `tuned_lens` and `lens_target`, as `tuned_lens_kl`.

    **Returns** [batch], nats; 0 at the last layer, positive where tuning helps. Negative where the translator learned
    its training text and not the language: give it more. NaN where a logit is not finite.

    **Source.** Belrose et al. 2023. Departures: as `tuned_lens_kl`.

    **Example.** The logit lens finds four tokens alike, the tuned one is right: ln 4.

    >>> target = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]).log()
    >>> tuned_lens_gain(torch.full((1, 1, 4), 0.25).log(), target, target)
    tensor([1.3863])
    """
    return _divergence(lens, lens_target) - _divergence(tuned_lens, lens_target)


def _divergence(lens: LogProbs, target: LogProbs) -> Float[Tensor, " batch"]:
    shares = target.exp()
    return (torch.xlogy(shares, shares) - torch.where(shares > 0, shares * lens, 0.0)).sum(-1).mean(-1)
