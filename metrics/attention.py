"""The `attention` site: the probabilities that a metric asks for, without the pattern it does not.

A fused attention kernel returns, beside its output, the log-sum-exp of each query's scores. With it

    p(q, k) = exp(scale * query_q . key_k - lse_q)

is the exact attention probability of one pair, so a score at fixed offsets or chosen keys costs a few dot products
instead of a softmax over every pair. Only `pattern` materialises all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Attention:
    """One layer's attention over one batch.

    query, key     [batch head pos d_head], as the scores use them: rotated, and keys repeated over grouped queries
    lse            [batch head query_pos], log-sum-exp of each query's scaled scores over the keys it sees
    mask           None for plain causal attention, else additive or boolean [batch 1|head query_pos key_pos]
    exact_pattern  set where the short way does not hold (soft-capped scores, attention sinks): the readings then
                   come from this pattern
    """

    query: Float[Tensor, "batch head pos d_head"]
    key: Float[Tensor, "batch head pos d_head"]
    lse: Float[Tensor, "batch head pos"]
    scale: float
    mask: Tensor | None = None
    exact_pattern: Float[Tensor, "batch head pos key_pos"] | None = None

    @property
    def n_positions(self) -> int:
        """The length of the sequences."""
        return self.query.shape[2]

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.query.device

    def at_offset(self, offset: int) -> Float[Tensor, "batch head query_pos"]:
        """The attention of each query q to the key q - offset, for q = offset .. n_positions - 1."""
        if not 0 <= offset < self.n_positions:
            msg = f"offset {offset} is outside 0 .. {self.n_positions - 1}, the sequence's positions"
            raise ValueError(msg)
        if self.exact_pattern is not None:
            return self.exact_pattern.diagonal(-offset, dim1=2, dim2=3)
        n = self.n_positions - offset
        scores = torch.einsum("bhqd,bhqd->bhq", self.query[:, :, offset:], self.key[:, :, :n]) * self.scale
        if self.mask is not None:
            scores = _masked(scores, self.mask.diagonal(-offset, dim1=2, dim2=3))
        return (scores - self.lse[:, :, offset:]).exp()

    def to(self, key_pos: Int[Tensor, "batch query_pos"]) -> Float[Tensor, "batch head query_pos"]:
        """The attention of each query to one chosen key of its own; 0 where `key_pos` is negative."""
        chosen = key_pos.clamp(min=0)
        if self.exact_pattern is not None:
            index = chosen[:, None, :, None].expand(-1, self.exact_pattern.shape[1], -1, 1)
            probability = self.exact_pattern.gather(3, index).squeeze(3)
        else:
            index = chosen[:, None, :, None].expand_as(self.query)
            scores = torch.einsum("bhqd,bhqd->bhq", self.query, self.key.gather(2, index)) * self.scale
            if self.mask is not None:
                mask = self.mask.expand(chosen.shape[0], -1, -1, -1)
                index = chosen[:, None, :, None].expand(-1, mask.shape[1], -1, 1)
                scores = _masked(scores, mask.gather(3, index).squeeze(3))
            probability = (scores - self.lse).exp()
        seen = key_pos >= 0
        if self.mask is None:  # a key after its query is not part of the log-sum-exp
            seen = seen & (key_pos <= torch.arange(self.n_positions, device=self.device))
        return torch.where(seen[:, None], probability, 0.0)

    def pattern(self) -> Float[Tensor, "batch head query_pos key_pos"]:
        """Every probability. Quadratic in the sequence length: only for a metric that needs all of them."""
        if self.exact_pattern is not None:
            return self.exact_pattern
        scores = self.query @ self.key.transpose(2, 3) * self.scale
        if self.mask is None:
            seen = torch.ones(scores.shape[2:], dtype=torch.bool, device=self.device).tril()
            scores = scores.masked_fill(~seen, float("-inf"))
        else:
            scores = _masked(scores, self.mask)
        return (scores - self.lse[..., None]).exp()


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, float("-inf"))
    return scores + mask


def from_pattern(pattern: Float[Tensor, "batch head query_pos key_pos"]) -> Attention:
    """An attention site that holds the given probabilities: for examples, tests and exact fallbacks."""
    batch, heads, length, _ = pattern.shape
    empty = pattern.new_zeros(batch, heads, length, 1)
    return Attention(empty, empty, empty[..., 0], 1.0, exact_pattern=pattern)
