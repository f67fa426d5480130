"""Names of checkpoints as strangers write them: what counts steps, what counts something else, what would do harm."""

from __future__ import annotations

import time

import pytest

from dynamics.sources import catalogue
from dynamics.sources.names import ANY, LONGEST, Name, natural, read_name


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step1000", 1000), ("global_step1000", 1000), ("checkpoint-10", 10), ("checkpoint_10", 10), ("ckpt_003", 3),
        ("chck_10M", 10**7), ("iter_0001000", 1000), ("step-240000", 240_000), ("step_60", 60), ("1000", 1000),
        ("stage1-step1000-tokens5B", 1000), ("lc-4k-to-32k-step-20000", 20_000), ("longctx-step50", 50),
        ("extension_step0001", 1), ("step-480k-token-1007B", 480_000), ("step-001000-2BT", 1000), ("epoch-3", 3),
        ("step50000-tokens210B", 50_000), ("step2627139-tokens15T", 2_627_139), ("OLMo_step100", 100),
        ("stage2-ingredient3-step11931-tokens51B", 11_931),
    ],
)  # fmt: skip
def test_names_that_count_steps(name: str, step: int) -> None:
    read = read_name(name)
    assert read is not None
    assert read.step == step


@pytest.mark.parametrize(
    "name",
    ["main", "fp32", "stage2-step47684-mix-a", "it-SFT", "soup1", "refs/pr/1", "v2", "seed_3", "seed3", "run_1",
     "lora_8", "rank_0", "gpt-2", "step1000-seed-default", "step", "step1000-tokens.B", "step-1.5"],
)  # fmt: skip
def test_names_that_count_something_else(name: str) -> None:
    """A branch for each seed is no history: as steps they would be drawn as one curve."""
    assert read_name(name) is None


@pytest.mark.parametrize("name", ["step" + "9" * 30, "step1000-tokens9999999999999B", "step" + "1" * 5000])
def test_a_number_that_no_store_holds_is_no_step(name: str) -> None:
    assert read_name(name) is None


def test_tokens_with_more_digits_than_their_unit_are_still_tokens() -> None:
    assert read_name("step5-tokens1.5B") == Name("", 5, 1_500_000_000, 100_000_000)
    assert read_name("step5-tokens1.1234567891234B") == Name("", 5, 1_123_456_789, 1)


def test_no_name_takes_long_to_read() -> None:
    """Each pattern of the catalogue and of the search, on names made to be tried in many ways."""
    from dynamics.sources.hub import PATTERNS

    hostile = [part * (10_000 // len(part)) + "!" for part in ("a", "1", "step", "a_", "-1", "/", " step 1", "stage1-")]
    hostile += [name[: LONGEST - 1] + "!" for name in hostile]
    patterns = {entry.pattern for entry in catalogue.entries().values() if entry.pattern} | {ANY, *PATTERNS.values()}
    began = time.process_time()
    for pattern in patterns:
        for name in hostile:
            read_name(name, pattern)
    assert time.process_time() - began < 5


def test_numbers_sort_by_size_whatever_else_a_name_holds() -> None:
    names = ["step10", "step9", "step007", "\u00b2", "9" * 5000, "stage2", "stage10", "main"]
    assert sorted(names, key=natural)[-3:] == ["step9", "step10", "\u00b2"]
    assert sorted(names, key=natural).index("stage2") < sorted(names, key=natural).index("stage10")
