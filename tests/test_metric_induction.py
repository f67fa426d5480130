"""`prefix_matching` and the attention scores beside it: by hand, by brute force, and where they must not fire."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dynamics import forward
from dynamics.tasks import Subject, Task, build_task
from metrics.attention import Attention, from_pattern
from metrics.induction import (
    duplicate_token_attention,
    induction_score,
    prefix_matching,
    prefix_matching_entry_mean,
    previous_token_attention,
)
from tiny_models import D_VOCAB, N_CTX, eager_outputs, tiny_model


def repeated(d_vocab: int = 2000, n_ctx: int = 2048, **settings: int) -> Task:
    """The task as the suite builds it: blocks of 17 to 33 tokens in about four repeats, or as set."""
    return build_task("repeated_tokens", settings, Subject(d_vocab, n_ctx, 0, None))


def earlier_copies(tokens: Tensor, shift: int) -> Tensor:
    """[batch query_pos key_pos]: the key holds an earlier copy of the query's token, moved by `shift`.

    From the tokens alone, one pair at a time; the metric goes by the period.
    """
    found = torch.zeros(*tokens.shape, tokens.shape[1])
    for row, sequence in zip(found, tokens.tolist(), strict=True):
        for query, token in enumerate(sequence):
            for key in range(1, query):
                if sequence[key] == token:
                    row[query, key + shift] = 1
    return found


def brute_force(pattern: Tensor, targets: Tensor) -> Tensor:
    """[batch head]: attention summed over a query's targets, averaged over the queries that have one."""
    has_target = targets.any(-1)  # [batch query_pos]
    summed = (pattern * targets[:, None]).sum(-1)
    return (summed * has_target[:, None]).sum(-1) / has_target.sum(-1)[:, None]


def head_that_attends(targets: Tensor) -> Attention:
    """A head that spreads its attention over the targets, and rests on the start token where there is none."""
    pattern = targets.clone()
    pattern[:, :, 0] = torch.where(targets.any(-1), pattern[:, :, 0], 1.0)
    return from_pattern((pattern / pattern.sum(-1, keepdim=True))[:, None])


def uniform(batch: int, length: int) -> Attention:
    """Every query attends alike to every key up to its own."""
    pattern = torch.ones(length, length).tril()
    return from_pattern((pattern / pattern.sum(-1, keepdim=True)).expand(batch, 1, -1, -1))


def test_perfect_heads_score_one_on_their_own_measure_and_zero_on_the_other() -> None:
    task = repeated(n_examples=4)
    period = task.fields["period"]
    induction = head_that_attends(earlier_copies(task.tokens, shift=1))
    duplicate = head_that_attends(earlier_copies(task.tokens, shift=0))
    torch.testing.assert_close(prefix_matching(induction, period), torch.ones(4, 1))
    torch.testing.assert_close(duplicate_token_attention(duplicate, period), torch.ones(4, 1))
    assert not prefix_matching(duplicate, period).any()
    assert not duplicate_token_attention(induction, period).any()


def test_chance_is_the_share_of_keys_that_are_targets() -> None:
    """25 tokens x 4: a query at q in repeat r has r - 1 targets of q + 1 keys."""
    task = repeated(n_examples=2, shortest=25, longest=25)
    shares = [((q - 1) // 25) / (q + 1) for q in range(26, 101)]
    by_hand = sum(shares) / len(shares)
    assert by_hand == pytest.approx(0.0307, abs=5e-5)
    scores = prefix_matching(uniform(2, 101), task.fields["period"])
    torch.testing.assert_close(scores, torch.full((2, 1), by_hand))
    torch.testing.assert_close(duplicate_token_attention(uniform(2, 101), task.fields["period"]), scores)
    entries = prefix_matching_entry_mean(uniform(2, 101), task.fields["period"])
    pairs = [((q - 1) // 25, 1 / (q + 1)) for q in range(26, 101)]
    by_pairs = sum(n * share for n, share in pairs) / sum(n for n, _ in pairs)
    assert by_pairs == pytest.approx(0.0154, abs=5e-5)
    torch.testing.assert_close(entries, torch.full((2, 1), by_pairs))


def test_the_entry_mean_of_a_perfect_head_is_one_half_for_four_repeats() -> None:
    task = repeated(n_examples=2, shortest=25, longest=25)
    induction = head_that_attends(earlier_copies(task.tokens, shift=1))
    torch.testing.assert_close(prefix_matching_entry_mean(induction, task.fields["period"]), torch.full((2, 1), 0.5))


def test_the_induction_stripe_of_a_head_that_follows_the_first_copy() -> None:
    """period + 2 entries: `period` induction queries, the one before them, and the first, which faces the start token
    that the head rests on."""
    task = repeated(n_examples=4)
    period, length = task.fields["period"], task.tokens.shape[1]
    first_copy = earlier_copies(task.tokens, shift=1) * (torch.arange(length) <= period[:, None] + 1)[:, None]
    scores = induction_score(head_that_attends(first_copy), period)[:, 0]
    torch.testing.assert_close(scores, (period + 1) / (period + 2))


def test_the_induction_stripe_equals_transformer_lens_recipe() -> None:
    """Its demonstration's own line, on the pattern of a sequence that repeats once."""
    length = 1 + 2 * 25
    generator = torch.Generator().manual_seed(0)
    pattern = torch.rand(3, 4, length, length, generator=generator).tril()
    pattern = pattern / pattern.sum(-1, keepdim=True)
    stripe = pattern.diagonal(dim1=-2, dim2=-1, offset=1 - 25).mean(-1)
    torch.testing.assert_close(induction_score(from_pattern(pattern), torch.full((3,), 25)), stripe)


def test_a_fixed_offset_does_not_pass_for_induction() -> None:
    """A head that always looks 24 back is perfect on blocks of 25; drawn lengths leave it those blocks alone."""
    task = repeated(n_examples=64)
    offset = torch.zeros(64, task.tokens.shape[1], task.tokens.shape[1])
    offset[:, torch.arange(24, offset.shape[1]), torch.arange(offset.shape[1] - 24)] = 1
    scores = prefix_matching(head_that_attends(offset), task.fields["period"])[:, 0]
    blocks_of_25 = task.fields["period"] == 25
    assert 0 < blocks_of_25.sum() < 10
    torch.testing.assert_close(scores, blocks_of_25.float())


def test_shuffled_tokens_leave_an_induction_head_at_chance() -> None:
    """The head still finds each token's followers, but these are no longer where a repeat would have them."""
    task = repeated(n_examples=16)
    order = torch.randperm(task.tokens.shape[1] - 1, generator=torch.Generator().manual_seed(0)) + 1
    shuffled = torch.cat([task.tokens[:, :1], task.tokens[:, order]], 1)
    scores = prefix_matching(head_that_attends(earlier_copies(shuffled, shift=1)), task.fields["period"])
    chance = prefix_matching(uniform(16, task.tokens.shape[1]), task.fields["period"])
    assert abs(float(scores.mean() - chance.mean())) < 0.02


@pytest.mark.parametrize("family", ["gpt_neox", "llama", "gpt2", "mistral"])
@torch.inference_mode()
def test_scores_equal_brute_force_on_eager_patterns(family: str) -> None:
    task = repeated(D_VOCAB, N_CTX, n_examples=3)
    ours: list[tuple[Tensor, ...]] = []

    def read(layer: int, attention: Attention) -> None:
        period = task.fields["period"]
        ours.append((
            prefix_matching(attention, period), duplicate_token_attention(attention, period),
            previous_token_attention(attention),
        ))  # fmt: skip

    forward.run(tiny_model(family), task.tokens, read)
    for scores, pattern in zip(ours, eager_outputs(tiny_model(family), task.tokens)[1], strict=True):
        expected = (
            brute_force(pattern, earlier_copies(task.tokens, shift=1)),
            brute_force(pattern, earlier_copies(task.tokens, shift=0)),
            pattern.diagonal(-1, dim1=2, dim2=3).mean(-1),
        )
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


def test_previous_token_attention_of_uniform_attention() -> None:
    """(H_T - 1) / (T - 1), 0.0594 at T = 64."""
    harmonic = sum(1 / n for n in range(1, 65))
    assert (harmonic - 1) / 63 == pytest.approx(0.0594, abs=5e-5)
    torch.testing.assert_close(previous_token_attention(uniform(1, 64)), torch.tensor([[(harmonic - 1) / 63]]))


def test_a_previous_token_head_is_no_induction_head() -> None:
    task = repeated(n_examples=4)
    length = task.tokens.shape[1]
    back = torch.eye(length).roll(-1, 1).tril().expand(4, -1, -1)
    torch.testing.assert_close(previous_token_attention(head_that_attends(back)), torch.ones(4, 1))
    assert not prefix_matching(head_that_attends(back), task.fields["period"]).any()


@pytest.mark.parametrize("metric", [
    prefix_matching, prefix_matching_entry_mean, duplicate_token_attention, induction_score,
])  # fmt: skip
def test_without_a_repeat_there_is_no_score(metric: Callable[[Attention, Tensor], Tensor]) -> None:
    assert metric(uniform(2, 5), torch.tensor([4, 9])).isnan().all()


def test_a_single_token_has_no_previous_one() -> None:
    assert previous_token_attention(uniform(2, 1)).isnan().all()


def test_inputs_are_left_as_they_are() -> None:
    task = repeated(D_VOCAB, N_CTX, n_examples=2)
    site, period = uniform(2, task.tokens.shape[1]), task.fields["period"]
    pattern, before = site.pattern().clone(), period.clone()
    for metric in (prefix_matching, prefix_matching_entry_mean, duplicate_token_attention, induction_score):
        metric(site, period)
    previous_token_attention(site)
    assert torch.equal(site.pattern(), pattern)
    assert torch.equal(period, before)
