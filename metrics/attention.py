"""The `attention` site: the probabilities that a metric asks for, without the pattern it does not.

A fused attention kernel returns, beside its output, the log-sum-exp of each query's scores. With it

    p(q, k) = exp(scale * query_q . key_k - lse_q)

is the exact attention probability of one pair, so a score at fixed offsets or chosen keys costs a few dot products
instead of a softmax over every pair. Only `pattern` materialises all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

# Up to this many times d_head positions, the whole pattern costs less than gathering each query's own keys.
SHORT = 4


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
        if self.exact_pattern is not None or self.n_positions <= SHORT * self.query.shape[3]:
            index = chosen[:, None, :, None].expand(-1, self.query.shape[1], -1, 1)
            probability = self._whole.gather(3, index).squeeze(3)
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

    def to_key(self, key_pos: int) -> Float[Tensor, "batch head query_pos"]:
        """The attention of every query to one and the same key; 0 from the queries before it."""
        if self.exact_pattern is not None:
            return self.exact_pattern[..., key_pos]
        scores = torch.einsum("bhqd,bhd->bhq", self.query, self.key[:, :, key_pos]) * self.scale
        if self.mask is not None:
            return (_masked(scores, self.mask[..., key_pos]) - self.lse).exp()
        sees = torch.arange(self.n_positions, device=self.device) >= key_pos
        return torch.where(sees, (scores - self.lse).exp(), 0.0)

    def rows(self, query_pos: Sequence[int]) -> Float[Tensor, "batch head n key_pos"]:
        """The attention of a few queries to every key."""
        chosen = torch.as_tensor(query_pos, device=self.device)
        if self.exact_pattern is not None:
            return self.exact_pattern[:, :, chosen]
        scores = (self.query[:, :, chosen] @ self.key.transpose(2, 3)) * self.scale
        if self.mask is not None:
            return (_masked(scores, self.mask[..., chosen, :]) - self.lse[:, :, chosen, None]).exp()
        seen = torch.arange(self.n_positions, device=self.device) <= chosen[:, None]
        return torch.where(seen, (scores - self.lse[:, :, chosen, None]).exp(), 0.0)

    @cached_property
    def entropy(self) -> Float[Tensor, "batch head query_pos"]:
        """-sum p ln p over the keys of each query, in nats; the share of an attention sink is one more outcome.

        Without the pattern: ln p = score - lse, so the entropy is lse less the mean score, and the mean score is the
        query's product with the mean key, which a second fused call gives.
        """
        if self.exact_pattern is not None or not self._mask_only_hides():
            pattern = self.pattern()
            rest = (1 - pattern.sum(-1)).clamp(min=0)
            return -torch.xlogy(pattern, pattern).sum(-1) - torch.xlogy(rest, rest)
        mean_score = torch.einsum("bhqd,bhqd->bhq", self.query, self._mean_over_keys(self.key)) * self.scale
        return (self.lse - mean_score).clamp(min=0)

    @cached_property
    def distance(self) -> Float[Tensor, "batch head query_pos"]:
        """The mean distance from each query back to the keys that it attends to, in tokens."""
        position = torch.arange(self.n_positions, device=self.device, dtype=self.lse.dtype)
        if self.exact_pattern is not None:
            mean_key = self.exact_pattern @ position / self.exact_pattern.sum(-1)
        else:
            values = position.to(self.key.dtype)[None, None, :, None].expand_as(self.key).contiguous()
            mean_key = self._mean_over_keys(values)[..., 0]
        return (position - mean_key).clamp(min=0)

    def _mean_over_keys(self, values: Float[Tensor, "batch head pos d_head"]) -> Float[Tensor, "batch head pos d_head"]:
        return scaled_dot_product_attention(
            self.query, self.key, values, attn_mask=self.mask, is_causal=self.mask is None, scale=self.scale
        )

    @cached_property
    def _whole(self) -> Float[Tensor, "batch head query_pos key_pos"]:
        return self.pattern()

    def _mask_only_hides(self) -> bool:
        """Whether the mask leaves every score that it lets through as it is, which a bias by distance does not."""
        return self.mask is None or self.mask.dtype == torch.bool

    def pattern(self) -> Float[Tensor, "batch head query_pos key_pos"]:
        """Every probability. Quadratic in the sequence length: only for a metric that needs all of them."""
        if self.exact_pattern is not None:
            return self.exact_pattern
        scores = (self.query @ self.key.transpose(2, 3)).mul_(self.scale)
        if self.mask is not None:
            scores = _masked(scores, self.mask)
        pattern = scores.sub_(self.lse[..., None]).exp_()
        return pattern.tril_() if self.mask is None else pattern


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, float("-inf"))
    return scores + mask


def from_pattern(pattern: Float[Tensor, "batch head query_pos key_pos"]) -> Attention:
    """An attention site that holds the given probabilities: for examples, tests and exact fallbacks."""
    batch, heads, length, _ = pattern.shape
    empty = pattern.new_zeros(batch, heads, length, 1)
    return Attention(empty, empty, empty[..., 0], 1.0, exact_pattern=pattern)
