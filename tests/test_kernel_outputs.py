"""The kernels: the fused way gives the output and the attention that the spelt-out way gives."""

from __future__ import annotations

import pytest
import torch

from dynamics.sites.kernels import compute


def inputs(heads: int = 3, length: int = 17, d_head: int = 8) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [2 * torch.randn(2, heads, length, d_head, generator=generator) for _ in range(3)]


def window(length: int, size: int) -> torch.Tensor:
    """A causal sliding window, boolean [1 1 query_pos key_pos]."""
    distance = torch.arange(length)[:, None] - torch.arange(length)
    return ((distance >= 0) & (distance < size))[None, None]


@pytest.mark.parametrize("mask", [None, window(17, 4)], ids=["causal", "sliding window"])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_output_and_attention_equal_a_softmax_spelt_out(mask: torch.Tensor | None, softcap: float | None) -> None:
    query, key, value = inputs()
    output, attention = compute(query, key, value, mask, 0.3, softcap=softcap)
    scores = 0.3 * query.double() @ key.double().transpose(2, 3)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    seen = window(17, 17) if mask is None else mask
    expected = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    assert (attention.exact_pattern is None) == (softcap is None)
    torch.testing.assert_close(attention.pattern().double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(output.double(), expected @ value.double(), atol=1e-5, rtol=0)


def test_soft_cap_by_hand() -> None:
    """Scores 0 and 20 capped at 1 become 0 and 1: the second key gets e / (1 + e)."""
    query, key = torch.ones(1, 1, 2, 1), torch.tensor([0.0, 20.0]).view(1, 1, 2, 1)
    _, attention = compute(query, key, key, None, 1.0, softcap=1.0)
    share = torch.tensor(1.0).exp() / (1 + torch.tensor(1.0).exp())
    torch.testing.assert_close(attention.at_offset(0)[0, 0], torch.stack([torch.tensor(1.0), share]))


def test_a_sink_takes_its_share_by_hand() -> None:
    """Two equal scores of 0 and a sink of ln 2: the keys share 2 / (2 + 2), the first query's only key 1 / (1 + 2)."""
    zeros = torch.zeros(1, 1, 2, 1)
    _, attention = compute(zeros, zeros, zeros + 1, None, 1.0, sinks=torch.tensor([2.0]).log())
    torch.testing.assert_close(attention.pattern()[0, 0], torch.tensor([[1 / 3, 0.0], [0.25, 0.25]]))


def test_inputs_are_not_written_to() -> None:
    tensors = inputs()
    before = [tensor.clone() for tensor in tensors]
    query, key, value = tensors
    for softcap in (None, 2.0):
        compute(query, key, value, window(17, 4), 0.3, softcap=softcap)[1].pattern()
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))
