"""Events of the published grokking run: what Nanda et al. 2023 report of it is found when its checkpoints are measured.

Measures the run's own 24 checkpoints where they lie beside the repository.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import dynamics
from dynamics.events import apply_rules, order
from dynamics.sources import open_series

RUN = Path(__file__).parents[2] / "shared" / "series" / "modular-addition-p113"
METRICS = ["train_loss", "test_loss", "test_accuracy", "restricted_loss", "excluded_loss"]
pytestmark = pytest.mark.skipif(not RUN.exists(), reason="needs the published grokking run beside the repository")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return dynamics.measure(open_series(f"folder:{RUN}"), METRICS, out=tmp_path_factory.mktemp("grokking") / "run")


@pytest.fixture(scope="module")
def transitions(run):
    return run.detect().filter(pl.col("kind") == "transition")


@pytest.fixture(scope="module")
def rules(run):
    return apply_rules(run.detect(), run.measurements())


def one(transitions, metric, direction, scale):
    """The transition of a metric on a scale; of several curves of one metric, the first."""
    found = transitions.filter(
        (pl.col("metric") == metric) & (pl.col("direction") == direction) & (pl.col("scale") == scale)
    )
    assert len(found), transitions
    return found.row(0, named=True)


def test_every_checkpoint_was_measured(run):
    assert run.measurements()["step"].n_unique() == 24


def test_the_fall_of_the_test_loss_completes_near_9000_to_10600_epochs(transitions):
    fall = one(transitions, "test_loss", "down", "log")
    assert 9_000 <= fall["completion"] <= 10_700  # on the linear scale the last of it cannot be seen
    assert fall["after"] < 1e-3


def test_the_test_accuracy_rises_while_the_loss_falls(transitions):
    rise = one(transitions, "test_accuracy", "up", "linear")
    assert rise["lower"] < 8_600
    assert rise["upper"] > 7_500
    assert rise["after"] > 0.99


def test_restricted_loss_falls_before_the_test_loss(run, transitions):
    restricted = transitions.filter((pl.col("metric") == "restricted_loss") & (pl.col("scale") == "linear"))
    test = one(transitions, "test_loss", "down", "linear")
    assert set(restricted["direction"]) == {"down"}
    assert (restricted["upper"] <= test["lower"]).all(), transitions
    claimed = order(transitions.filter(pl.col("scale") == "linear"))
    pair = claimed.filter(
        pl.col("first").str.starts_with("restricted_loss") & pl.col("second").str.starts_with("test_loss")
    )
    assert set(pair["order"]) == {"before"}


def test_excluded_loss_rises_from_4_to_5_thousand_epochs(transitions):
    rise = one(transitions, "excluded_loss", "up", "log")
    assert rise["lower"] < 5_000
    assert rise["upper"] > 4_000
    assert rise["midpoint"] < one(transitions, "test_loss", "down", "linear")["midpoint"]


def test_grokking_and_hidden_progress_are_recognised(rules):
    assert {"grokking", "hidden progress"} <= set(rules.filter("found")["rule"])
    grokking = rules.filter(pl.col("rule") == "grokking")
    assert set(grokking["status"]) == {"found"}, grokking  # restricted and excluded loss in between as well
