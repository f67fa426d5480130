"""Before a series is measured: are the fast readings those that transformers itself gives?"""

from __future__ import annotations

import torch
from torch import Tensor

from dynamics.architectures import size
from dynamics.errors import UsageError
from dynamics.model import SeriesModel
from dynamics.sites.running import attention_kernel, run
from dynamics.sites.unembed import logits


@torch.inference_mode()
def check_model(model: SeriesModel, *, reads_attention: bool = True, tolerance: float = 1e-4) -> None:
    """Compare the fast readings with transformers' own on one small batch, and refuse to go on if they differ.

    Attention patterns are compared with `output_attentions=True` under eager attention, and the logits that are
    rebuilt from the last residual stream with the model's own.
    """
    module, d_vocab = model.module, size(model.config, "vocab_size")
    if module.get_output_embeddings() is None:
        return  # a model that reads numbers is called as it is: there is no short way to check
    length = min(24, size(model.config, "max_position_embeddings"))
    tokens = (torch.arange(2 * length, device=model.device).view(2, length) * 7919 + 13) % d_vocab
    patterns: dict[int, Tensor] = {}
    hidden = run(module, tokens, lambda layer, attention: patterns.update({layer: attention.pattern()}))
    assert hidden is not None
    rebuilt = logits(module, hidden)
    with attention_kernel(module, "eager"):
        expected = module(input_ids=tokens, output_attentions=True, use_cache=False)
    _compare("logits", rebuilt, expected.logits, tolerance)
    if not (patterns or reads_attention):
        return
    if len(patterns) != model.n_layers:
        msg = f"the attention of {model.config.model_type!r} cannot be read: {len(patterns)} of its {model.n_layers} " \
              "layers gave it; leave out the metrics that read attention"  # fmt: skip
        raise UsageError(msg)
    for layer, theirs in enumerate(expected.attentions or ()):
        _compare(f"attention of layer {layer}", patterns[layer], theirs[..., : tokens.shape[1]], tolerance)


def _compare(what: str, ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    # Half precision rounds the two ways of computing apart by its own resolution.
    bound = max(tolerance, 8 * torch.finfo(theirs.dtype).eps) * max(1.0, float(theirs.abs().max()))
    worst = float((ours.float() - theirs.float()).abs().max())
    if not worst <= bound:
        msg = (
            f"self-check failed: {what} differ from transformers' own by {worst:.2g}, more than {bound:.2g}; this "
            "architecture is not measured correctly, so nothing was measured"
        )
        raise UsageError(msg)
