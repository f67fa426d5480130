"""Training on a text, with passages that come again: what is drawn, what is held out, and the first stage."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from dynamics.carry_out import CHECKPOINTS, carry_out
from dynamics.errors import UsageError
from dynamics.recipe import read_recipe
from dynamics.tasks import Subject, build_task
from dynamics.tasks.documents import TextSettings, read
from dynamics.tasks.passages import repeat_passages
from dynamics.training import train_recipe
from dynamics.training.text import START, Windows, learn_tokenizer

ROOT = Path(__file__).resolve().parents[1]


def test_the_share_of_windows_asked_for_repeats_its_beginning_and_the_others_stay() -> None:
    tokens = torch.arange(1, 41).expand(2000, 40).clone()
    tokens[:, 0] = 0
    changed = repeat_passages(tokens, 0.3, (3, 9), np.random.default_rng(0))
    periods = []
    for row in changed:
        if torch.equal(row, tokens[0]):
            continue
        period = next(p for p in range(1, 39) if torch.equal(row[1 + p :], row[1:-p]))
        assert row[: period + 1].tolist() == [0, *range(2, period + 2)]
        periods.append(period)
    assert 0.27 < len(periods) / 2000 < 0.33
    assert set(periods) == set(range(3, 10))
    assert torch.equal(repeat_passages(tokens, 0.0, (3, 9), np.random.default_rng(0)), tokens)


def test_windows_never_cross_documents_and_all_are_drawn() -> None:
    windows = Windows([[1, 2, 3, 4], [5, 6], [7, 8, 9]], 3, "text")
    drawn = {tuple(row) for row in windows.draw(300, np.random.default_rng(0)).tolist()}
    assert drawn == {(0, 1, 2, 3), (0, 2, 3, 4), (0, 7, 8, 9)}
    with pytest.raises(UsageError, match="no document of text has 5 tokens"):
        Windows([[1, 2, 3, 4], [5, 6]], 5, "text")


def test_the_tokenizer_gives_the_text_back_and_keeps_its_first_token_for_the_start() -> None:
    (first, *_), _ = read(TextSettings(part="training"))
    tokenizer = learn_tokenizer([first], 300)
    assert tokenizer.get_vocab_size() == 300
    assert tokenizer.token_to_id(START) == 0
    assert tokenizer.decode(tokenizer.encode(first).ids) == first


def test_a_text_that_repeats_counts_no_bytes_and_a_plain_one_is_as_before(tiny_series: Path, text: Path) -> None:
    subject = Subject(65, 64, 0, tiny_series / "step0" / "tokenizer.json")
    settings = {"path": str(text), "documents": "lines", "length": 20, "n_examples": 12}
    plain = build_task("text", settings, subject)
    repeated = build_task("text", settings | {"repeated": 1.0, "passage": (4, 6)}, subject)
    assert (plain.fields["n_bytes"] > 0).all()
    assert "repeated" not in plain.settings
    assert repeated.fields["n_bytes"].eq(0).all()
    assert repeated.settings["repeated"] == 1.0
    assert torch.equal(repeated.tokens[:, :5], plain.tokens[:, :5])
    assert repeated.hash != plain.hash


@pytest.mark.slow
def test_bigrams_come_first_and_no_head_copies_yet(tmp_path: Path) -> None:
    recipe = read_recipe(ROOT / "runs" / "attention-only.toml")
    short = recipe.train.model_copy(update={"steps": 200, "checkpoints": "every:50"})
    recipe = recipe.model_copy(update={"train": short})
    train_recipe(recipe, tmp_path / CHECKPOINTS)
    largest = carry_out(recipe, out=tmp_path).measurements().group_by("metric", "step").agg(pl.col("value").max())

    def curve(metric: str) -> list[float]:
        return largest.filter(pl.col("metric") == metric).sort("step")["value"].to_list()

    assert all(later < earlier for earlier, later in pairwise(curve("bigram_kl")))
    assert curve("bigram_kl")[-1] < 1.2
    assert curve("bigram_score")[-1] < 4.6
    assert max(curve("prefix_matching")) < 0.1
    assert max(curve("previous_token_attention")) < 0.1
