"""Histories in TransformerLens' format through a whole recipe: attention only and GELU, from files to a report."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from torch.nn.functional import cross_entropy

from dashboards.report import write_report
from dynamics.carry_out import carry_out
from dynamics.recipe import Recipe, SeriesEntry
from dynamics.tasks import Subject, build_task
from test_toy_models import SIZES, forward, state

STEPS = (0, 500, 1000)
KINDS = {
    "attention-only": {"attn_only": True, "act_fn": "attn_only", "normalization": "LN"},
    "gelu": {"attn_only": False, "act_fn": "gelu", "normalization": "LN"},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_runs_on_its_checkpoints_and_measures_what_the_equations_say(tmp_path: Path, kind: str) -> None:
    settings = SIZES | KINDS[kind]
    (tmp_path / kind).mkdir()
    history = {}
    for step in STEPS:
        history[step] = state(settings, seed=step)
        torch.save({"model": history[step], "config": settings}, tmp_path / kind / f"{step}.pt")
    task = {"n_examples": 6, "shortest": 3, "longest": 5}
    recipe = Recipe(
        name=kind, series=(SeriesEntry(source=f"folder:{tmp_path / kind}"),), tasks={"repeated_tokens": task},
        metrics=("repeated_loss", "prefix_matching", "copying_eigenvalues", "k_composition", "stable_rank"),
    )  # fmt: skip
    run = carry_out(recipe, out=tmp_path / "run")
    assert run.failed().is_empty()
    measured = run.measurements().filter(pl.col("metric") == "repeated_loss").sort("step")
    assert measured["step"].to_list() == list(STEPS)
    made = build_task("repeated_tokens", task, Subject(settings["d_vocab"], settings["n_ctx"], None, None))
    tokens, period = made.tokens, made.fields["period"]
    for step, value in measured.select("step", "value").iter_rows():
        logits = forward(history[step], settings, tokens)
        losses = cross_entropy(logits[:, :-1].mT, tokens[:, 1:], reduction="none")
        expected = torch.stack([row[p + 1 :].mean() for row, p in zip(losses, period, strict=True)]).mean()
        assert value == pytest.approx(float(expected), abs=1e-5)
    assert "every head over training" in write_report(tmp_path / "run").read_text("utf-8")
