"""Induction heads counted, and the strongest: by hand, through a sweep, and where there is none."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch

import dynamics
from conftest import tiny_model
from dynamics.sweep import Settings
from dynamics.training import save
from metrics.attention import from_pattern
from metrics.induction import prefix_matching
from metrics.induction_count import THRESHOLD, induction_heads, strongest_induction_head
from test_metric_induction import earlier_copies, head_that_attends, repeated, uniform

NAMES = ["induction_heads", "strongest_induction_head"]


def test_by_hand() -> None:
    """Three of six heads above 0.3 on average, though not on each example."""
    scores = torch.tensor([[[0.0, 0.31, 0.9], [0.2, 0.29, 0.5]], [[0.0, 0.31, 0.5], [0.3, 0.29, 0.3]]])
    assert float(induction_heads(scores)) == 3
    assert strongest_induction_head(scores).tolist() == pytest.approx([0.9, 0.5])


def test_perfect_heads_among_uniform_ones() -> None:
    task = repeated(n_examples=4)
    period, length = task.fields["period"], task.tokens.shape[1]
    perfect = head_that_attends(earlier_copies(task.tokens, shift=1)).pattern()
    duplicate = head_that_attends(earlier_copies(task.tokens, shift=0)).pattern()
    heads = torch.cat([uniform(4, length).pattern(), perfect, duplicate, perfect], 1)
    scores = prefix_matching(from_pattern(heads), period)[:, None]
    assert float(induction_heads(scores)) == 2
    torch.testing.assert_close(strongest_induction_head(scores), torch.ones(4))


def test_chance_is_far_below_the_threshold() -> None:
    """Uniform attention, shuffled tokens, and a head at a fixed offset."""
    task = repeated(n_examples=64)
    period, length = task.fields["period"], task.tokens.shape[1]
    order = torch.randperm(length - 1, generator=torch.Generator().manual_seed(0)) + 1
    shuffled = torch.cat([task.tokens[:, :1], task.tokens[:, order]], 1)
    offset = torch.zeros(64, length, length)
    offset[:, torch.arange(24, length), torch.arange(length - 24)] = 1
    for site in (uniform(64, length), head_that_attends(earlier_copies(shuffled, shift=1)), head_that_attends(offset)):
        scores = prefix_matching(site, period)[:, None]
        assert float(induction_heads(scores)) == 0
        assert float(strongest_induction_head(scores).mean()) < THRESHOLD / 2


@pytest.mark.parametrize("n_layers", [1, 2])
def test_random_weights_have_none(n_layers: int, tmp_path: Path) -> None:
    """Through a sweep; the scores that the two are made of are not stored unless they are asked for."""
    for seed, step in enumerate((0, 10)):
        save(tiny_model(seed, n_layers=n_layers), tmp_path / "series" / f"step{step}", None)
    series = dynamics.open_series(f"folder:{tmp_path / 'series'}")
    settings = Settings({"repeated_tokens": {"n_examples": 8}})
    run = dynamics.measure(series, NAMES, out=tmp_path / "run", settings=settings)
    frame = run.measurements()
    assert set(frame["metric"]) == set(NAMES)
    assert frame.filter(pl.col("metric") == "induction_heads")["value"].to_list() == [0, 0]
    heads = dynamics.measure(series, ["prefix_matching"], out=tmp_path / "run", settings=settings).measurements()
    best = heads.filter(pl.col("metric") == "prefix_matching").sort("value").group_by("step").last().sort("step")
    strongest = frame.filter(pl.col("metric") == "strongest_induction_head").sort("step")
    assert strongest["value"].to_list() == pytest.approx(best["value"].to_list())
    assert strongest["stderr"].to_list() == pytest.approx(best["stderr"].to_list())
    assert strongest["n"].to_list() == [8, 8]


def test_without_a_repeat_there_is_no_count() -> None:
    nothing = torch.full((2, 1, 3), float("nan"))
    assert induction_heads(nothing).isnan()
    assert strongest_induction_head(nothing).isnan().all()


def test_inputs_are_left_as_they_are() -> None:
    scores = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0))
    before = scores.clone()
    induction_heads(scores)
    strongest_induction_head(scores)
    assert torch.equal(scores, before)
