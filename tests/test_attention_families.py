"""Attention readings of every family that attends, whatever its architecture does to scores: those of eager attention.

Grouped queries, sliding and local windows, soft caps, sinks, biases by distance (ALiBi), parallel residual streams,
norms after the layers, norms on queries and keys, both directions.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

import dynamics
from dynamics.architectures import build
from dynamics.forward import run
from metrics.attention import Attention
from saved_models import FAMILIES, configuration, saved
from tiny_models import eager_outputs, random_tokens

LENGTH = 20
VARIANTS = {
    **{family: (family, {}) for family in FAMILIES},
    "gemma2 capped": ("gemma2", {"attn_logit_softcapping": 2.0, "sliding_window": 6}),
    "mistral window": ("mistral", {"sliding_window": 6}),
    "falcon alibi": ("falcon", {"alibi": True}),
    "falcon one key": ("falcon", {"multi_query": True, "new_decoder_architecture": False}),
    "gpt_neox sequential": ("gpt_neox", {"use_parallel_residual": False}),
    "gpt_neox all rotary": ("gpt_neox", {"rotary_pct": 1.0}),
    "gpt_neo local": ("gpt_neo", {"window_size": 5}),
    "llama one key": ("llama", {"num_key_value_heads": 1}),
    "opt post-norm": ("opt", {"do_layer_norm_before": False}),
}  # fmt: skip
# Where each query sees a part of what causal attention would show it.
WINDOWED = {"gemma2 capped", "mistral window", "gpt_neo local", "olmo3", "gpt_oss"}


@cache
@torch.inference_mode(False)  # whoever asks first: others train on what is kept
def model(variant: str) -> PreTrainedModel:
    """Wide random weights, so that patterns are far from uniform and an error would show."""
    family, changes = VARIANTS[variant]
    config = configuration(family)
    for name, value in changes.items():
        setattr(config, name, value)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = build(config)
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0, 0.3)
                else:
                    parameter.fill_(float("norm" in name.lower() or "ln_" in name))
    return made.float().eval().requires_grad_(False)


@torch.inference_mode()
def readings(variant: str) -> tuple[list[Attention], torch.Tensor]:
    """Each layer's site, and transformers' own patterns [layer batch head query_pos key_pos]."""
    tokens, sites = random_tokens(3, LENGTH), {}
    run(model(variant), tokens, lambda layer, attention: sites.update({layer: attention}))
    return [sites[layer] for layer in sorted(sites)], eager_outputs(model(variant), tokens)[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_readings_are_those_of_the_eager_pattern(variant: str) -> None:
    sites, expected = readings(variant)
    assert len(sites) == len(expected) == 2
    chosen = torch.randint(0, LENGTH, (3, LENGTH), generator=torch.Generator().manual_seed(1))
    chosen = torch.minimum(chosen, torch.arange(LENGTH))
    for ours, theirs in zip(sites, expected, strict=True):
        near = {"atol": 1e-5, "rtol": 0}
        torch.testing.assert_close(ours.pattern(), theirs, **near)
        for offset in (0, 1, 7):
            torch.testing.assert_close(ours.at_offset(offset), theirs.diagonal(-offset, dim1=2, dim2=3), **near)
        torch.testing.assert_close(ours.to_key(0), theirs[..., 0], **near)
        gathered = theirs.gather(3, chosen[:, None, :, None].expand(-1, theirs.shape[1], -1, 1)).squeeze(3)
        torch.testing.assert_close(ours.to(chosen), gathered, **near)
        rest = (1 - theirs.sum(-1)).clamp(min=0)
        entropy = -torch.xlogy(theirs, theirs).sum(-1) - torch.xlogy(rest, rest)
        torch.testing.assert_close(ours.entropy, entropy, atol=1e-4, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_comparison_is_not_idle(variant: str) -> None:
    """Patterns are far from uniform, and windows hide what causal attention would show."""
    _, expected = readings(variant)
    assert float(expected[:, :, :, -1].max()) > 0.3
    assert bool((expected[:, :, :, -1, :8] == 0).all(dim=(1, 2)).any()) == (variant in WINDOWED)


@pytest.mark.parametrize("family", ["bloom", "gpt_neo"])
def test_a_family_that_takes_no_kernel_is_measured_as_others_are(family: str, tmp_path: Path) -> None:
    """The self-check accepts it, and a series is measured from its own code's patterns."""
    for seed in (0, 1):
        saved(family, tmp_path / "series", seed)
    metrics = ["prefix_matching", "repeated_loss"]
    tokens = {"n_examples": 4, "excluded_share": 0.0}
    run = dynamics.measure(dynamics.open_series(f"folder:{tmp_path / 'series'}"), metrics, out=tmp_path / "run",
                           settings=dynamics.Settings(tasks={"repeated_tokens": tokens}))  # fmt: skip
    assert run.failed().is_empty()
    curves = run.measurements()
    assert curves.filter(metric="prefix_matching").select("layer", "head").n_unique() == 8
    assert not curves["value"].is_null().any()
