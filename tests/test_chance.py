"""What guessing gives on a task, and where it is known from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from dynamics.chance import Chance, chance_of
from dynamics.errors import UsageError
from dynamics.recipe import read_recipe

QUESTIONS = ("lambada_openai", "sciq", "piqa", "arc_easy", "arc_challenge", "logiqa", "winogrande", "wsc")


@pytest.mark.parametrize(
    ("metric", "level"),
    [("sciq_acc", 0.25), ("arc_easy_acc_norm", 0.25), ("lambada_standard_acc", 0.0), ("winogrande_acc_none", 0.5),
     ("hendrycksTest-astronomy_acc", 0.25), ("mmlu_anatomy_acc", 0.25)],
)  # fmt: skip
def test_known_tasks(metric: str, level: float) -> None:
    found = chance_of(metric)
    assert found is not None
    assert found.level == level


@pytest.mark.parametrize("metric", ["loss", "sciq_ppl", "prefix_matching", "lambada_openai_ppl", "mine_acc", "acc"])
def test_nothing_is_made_up_for_others(metric: str) -> None:
    assert chance_of(metric) is None


def test_the_recipe_comes_first() -> None:
    assert chance_of("sciq_acc", {"sciq": 0.2}) == Chance(0.2)
    assert chance_of("mine_score", {"mine_*": 0.1}) == Chance(0.1)
    assert chance_of("sciq_acc", {"mine": 0.1}) == chance_of("sciq_acc")


def test_the_bar_is_the_better_of_guessing_and_one_answer_to_all() -> None:
    wsc = chance_of("wsc_acc")
    assert wsc is not None
    assert wsc.bar() == pytest.approx(66 / 104, abs=1e-4)
    assert Chance(0.25).bar() == 0.25


def test_a_recipe_says_what_guessing_gives(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[chance]\nmine = 0.1\n[[imports]]\npath = "x.csv"\n')
    assert read_recipe(path).chance == {"mine": 0.1}
    path.write_text('name = "mine"\n[chance]\nmine = 25\n[[imports]]\npath = "x.csv"\n')
    with pytest.raises(UsageError, match="'chance.mine'"):
        read_recipe(path)


def test_the_numbers_of_questions_are_those_of_published_errors(reference_data: Callable[[str], Path]) -> None:
    frame = pl.read_parquet(reference_data("data/pythia_v1_zeroshot_evals.parquet"))
    wide = frame.filter(pl.col("metric").is_in(["acc", "acc_stderr"])).pivot(
        "metric", index=["model", "step", "task"], values="value"
    )
    # The harness divides by one question less: stderr = sqrt(p (1 - p) / (n - 1)).
    known = wide.filter((pl.col("acc_stderr") > 0) & pl.col("task").is_in(QUESTIONS))
    n = known.group_by("task").agg((pl.col("acc") * (1 - pl.col("acc")) / pl.col("acc_stderr") ** 2 + 1).median())
    for task, questions in n.iter_rows():
        found = chance_of(f"{task}_acc")
        assert found is not None
        assert found.questions == round(questions), task
