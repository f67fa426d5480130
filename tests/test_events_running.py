"""Events of a series that grows: announced, confirmed, and never dropped in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dynamics.events import RUNNING_COLUMNS, follow

STEPS = np.unique(np.round(np.logspace(0, 5, 50)))
PYTHIA = Path(__file__).resolve().parents[2] / "shared" / "data" / "pythia_v1_zeroshot_evals.parquet"


def measured(value: np.ndarray, steps: np.ndarray = STEPS) -> pl.DataFrame:
    return pl.DataFrame({"series": "s", "step": steps, "metric": "m", "value": value, "stderr": 0.02})


def rise(steps: np.ndarray = STEPS) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.02, len(steps))
    return 1 / (1 + np.exp(-(np.log10(steps + 1) - 3.0) * 15)) + noise


def fed(full: pl.DataFrame, start: int = 8) -> list[pl.DataFrame]:
    """What `follow` answers while the checkpoints come in one by one."""
    steps = full["step"].unique().sort().to_list()
    known, answers = None, []
    for step in steps[start - 1 :]:
        known = follow(known, full.filter(pl.col("step") <= step))
        answers.append(known)
    return answers


def vanished(answers: list[pl.DataFrame]) -> int:
    """Events that the next answer has no word about, neither found nor withdrawn nor tentative again."""
    count = 0
    for before, after in zip(answers, answers[1:], strict=False):
        for row in before.filter(pl.col("status") != "withdrawn").to_dicts():
            same = after.filter(
                pl.all_horizontal(pl.col(k).eq_missing(pl.lit(row[k])) for k in ("series", "metric", "direction"))
                & (pl.col("first_seen") == row["first_seen"])
            )
            count += same.is_empty()
            if row["status"] == "confirmed":
                count += "withdrawn" in same["status"].to_list() and "confirmed" not in same["status"].to_list()
    return count


def test_a_rise_is_tentative_first_and_confirmed_when_it_has_held():
    answers = fed(measured(rise()))
    said = [a["status"].to_list() for a in answers if len(a)]
    assert said[0] == ["tentative"]
    assert said[-1] == ["confirmed"]
    announced = answers[-1]["first_seen"][0]
    assert 1_000 < announced < 5_000  # the rise ends near step 1,600
    at_announcement = next(a for a in answers if announced in a["first_seen"].to_list())
    assert at_announcement.filter(pl.col("first_seen") == announced)["status"].to_list() == ["tentative"]
    assert vanished(answers) == 0
    assert answers[-1].columns == list(RUNNING_COLUMNS)


def test_a_second_look_at_the_same_checkpoints_confirms_nothing():
    full = measured(rise())
    once = follow(None, full)
    assert once["status"].to_list() == ["tentative"]
    assert follow(once, full).equals(once)


def test_what_was_confirmed_is_tentative_again_before_it_is_withdrawn():
    known = fed(measured(rise()))[-1]
    flat = np.random.default_rng(1).normal(0, 0.02, len(STEPS) + 1)
    for extra, expected in ((1, ["tentative"]), (2, ["withdrawn"]), (3, [])):
        steps = np.append(STEPS, STEPS[-1] * (1 + np.arange(extra)))[: len(STEPS) + extra]
        steps[len(STEPS) :] = STEPS[-1] * (2.0 + np.arange(extra))
        known = follow(known, measured(np.resize(flat, len(steps)), steps))
        assert known["status"].to_list() == expected
    assert known.schema == pl.DataFrame(schema=RUNNING_COLUMNS).schema


def test_nothing_of_a_curve_without_events_is_ever_confirmed():
    noise = np.random.default_rng(3).normal(0, 0.02, len(STEPS))
    assert all("confirmed" not in answer["status"].to_list() for answer in fed(measured(noise)))


@pytest.mark.skipif(not PYTHIA.exists(), reason="needs the Pythia evaluations beside the repository")
def test_lambada_point_by_point_is_announced_and_nothing_is_dropped_in_silence():
    wide = pl.read_parquet(PYTHIA).filter(
        pl.col("task") == "lambada_openai", pl.col("metric").is_in(["acc", "acc_stderr"])
    )
    wide = wide.pivot(on="metric", index=["model", "step"], values="value")
    full = wide.select(pl.col("model").alias("series"), "step", pl.lit("acc").alias("metric"),
                       pl.col("acc").alias("value"), pl.col("acc_stderr").alias("stderr"))  # fmt: skip
    answers = fed(full.filter(pl.col("series") == "pythia-160m"))
    assert vanished(answers) == 0
    assert "confirmed" in answers[-1].filter(pl.col("direction") == "up")["status"].to_list()
