"""Events of published evaluations: what the Pythia suite is known to have done, and what it did not do.

Reads the evaluation results of EleutherAI's Pythia suite where they lie beside the repository.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from dynamics.events import detect

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "pythia_v1_zeroshot_evals.parquet"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="needs the Pythia evaluations beside the repository")


@pytest.fixture(scope="module")
def accuracies():
    """Accuracy with its standard error: `series, step, metric, label, value, stderr`."""
    wide = pl.read_parquet(DATA).filter(pl.col("metric").is_in(["acc", "acc_stderr"]))
    wide = wide.pivot(on="metric", index=["model", "step", "task"], values="value")
    return wide.select(
        pl.col("model").alias("series"), "step", pl.lit("acc").alias("metric"), pl.col("task").alias("label"),
        pl.col("acc").alias("value"), pl.col("acc_stderr").alias("stderr"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def lambada(accuracies):
    return detect(accuracies.filter(pl.col("label") == "lambada_openai"))


def test_lambada_rises_between_steps_512_and_3000_at_every_size(accuracies, lambada):
    up = lambada.filter((pl.col("direction") == "up") & pl.col("kind").is_in(["transition", "kink"]))
    rises = up.filter((pl.col("upper") > 512) & (pl.col("lower") < 3000))
    assert set(rises["series"]) == set(accuracies["series"])


def test_the_smallest_models_fall_later_as_a_second_event(lambada):
    falls = lambada.filter((pl.col("direction") == "down") & (pl.col("midpoint") > 60_000))
    assert {"pythia-70m", "pythia-70m-deduped"} <= set(falls["series"])


def test_nothing_happens_before_training_has(lambada):
    assert lambada.filter(pl.col("upper") <= 128).is_empty()


@pytest.mark.slow
def test_subjects_at_chance_have_no_event(accuracies):
    """The MMLU subjects (four answers) of every model that never leaves 0.2 to 0.3: no event among them."""
    subjects = accuracies.filter(pl.col("label").str.starts_with("hendrycks"))
    late = subjects.filter(pl.col("step") > 3000).group_by("series", "label").agg(pl.col("value").mean())
    chance = late.filter(pl.col("value").is_between(0.2, 0.3)).select("series", "label").sort("series", "label")
    events = detect(subjects.join(chance.head(300), on=["series", "label"]))
    assert len(chance) > 300
    assert len(events) <= 3, events  # 1 % of 300
