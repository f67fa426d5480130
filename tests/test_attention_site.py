"""The attention site: probabilities from the log-sum-exp, without the pattern, equal those of the pattern."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import metrics.attention as attention_file
from dynamics import forward
from metrics.attention import Attention, from_pattern
from tiny_models import CONFIGS, eager_outputs, random_tokens, tiny_model

LENGTH = 20
EXACT = {"gemma2", "gpt_oss"}  # soft-capped scores and attention sinks: the pattern is spelt out
MASKED = {"mistral", "gemma2", "gpt_oss"}  # the first layer has a sliding window, which reaches the kernel as a mask


@torch.inference_mode()
def attention_of(family: str) -> tuple[list[Attention], torch.Tensor]:
    """Each layer's site from our pass, and transformers' own patterns [layer batch head query_pos key_pos]."""
    tokens, sites = random_tokens(3, LENGTH), []
    forward.run(tiny_model(family), tokens, lambda layer, attention: sites.append(attention))
    return sites, eager_outputs(tiny_model(family), tokens)[1]


@pytest.mark.parametrize("short", [0, 4], ids=["keys gathered", "short sequences"])
@pytest.mark.parametrize("family", CONFIGS)
def test_every_reading_equals_transformers_eager_pattern(
    family: str, short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain, grouped, masked, soft-capped and with sinks."""
    monkeypatch.setattr(attention_file, "SHORT", short)
    sites, expected = attention_of(family)
    assert len(sites) == 2
    assert (sites[0].mask is not None) == (family in MASKED)
    chosen = torch.randint(-1, LENGTH, (3, LENGTH), generator=torch.Generator().manual_seed(1))
    chosen = torch.minimum(chosen, torch.arange(LENGTH))
    for ours, theirs in zip(sites, expected, strict=True):
        assert (ours.exact_pattern is not None) == (family in EXACT)
        torch.testing.assert_close(ours.pattern(), theirs, atol=1e-5, rtol=0)
        for offset in (0, 1, 7, LENGTH - 1):
            torch.testing.assert_close(ours.at_offset(offset), theirs.diagonal(-offset, dim1=2, dim2=3),
                                       atol=1e-5, rtol=0)  # fmt: skip
        for key in (0, 7, LENGTH - 1):
            torch.testing.assert_close(ours.to_key(key), theirs[..., key], atol=1e-5, rtol=0)
        gathered = theirs.gather(3, chosen.clamp(min=0)[:, None, :, None].expand(-1, 4, -1, 1)).squeeze(3)
        torch.testing.assert_close(ours.to(chosen), torch.where(chosen[:, None] >= 0, gathered, 0.0),
                                   atol=1e-5, rtol=0)  # fmt: skip


def test_eager_patterns_are_far_from_uniform() -> None:
    """The comparison above would be idle on models that attend alike everywhere."""
    for family in CONFIGS:
        assert float(eager_outputs(tiny_model(family), random_tokens(3, LENGTH))[1][:, :, :, -1].max()) > 0.5


def test_a_key_after_its_query_gets_no_attention() -> None:
    later = torch.arange(1, LENGTH + 1).clamp(max=LENGTH - 1).expand(3, -1).clone()
    later[:, -1] = -1
    for family in ("gpt_neox", "mistral", "gpt_oss"):
        sites, _ = attention_of(family)
        assert not sites[0].to(later).any()


@pytest.mark.parametrize("read", [lambda a: a.at_offset(0), lambda a: a.pattern()[..., 0, 0]])
def test_one_position_attends_to_itself(read: Callable[[Attention], torch.Tensor]) -> None:
    site = from_pattern(torch.ones(1, 2, 1, 1))
    assert read(site).flatten().tolist() == [1.0, 1.0]


def test_offset_outside_the_sequence_names_its_range() -> None:
    with pytest.raises(ValueError, match=r"offset 3 is outside 0 \.\. 2"):
        from_pattern(torch.eye(3)[None, None]).at_offset(3)


def test_a_boolean_mask_hides_what_it_hides() -> None:
    """Keys 0 and 2 hidden from the last query: what is left is shared by keys 1 and 3 as their scores say."""
    seen = torch.ones(4, 4, dtype=torch.bool).tril()
    seen[3, [0, 2]] = False
    query = torch.zeros(1, 1, 4, 1)
    lse = seen.sum(-1).log().view(1, 1, 4)
    site = Attention(query, query, lse, 1.0, mask=seen.view(1, 1, 4, 4))
    torch.testing.assert_close(site.pattern()[0, 0, 3], torch.tensor([0.0, 0.5, 0.0, 0.5]))
    torch.testing.assert_close(site.at_offset(1)[0, 0], torch.tensor([0.5, 1 / 3, 0.0]))
