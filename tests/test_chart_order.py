"""The lags between changes, and the small multiples by layer."""

from __future__ import annotations

from dashboards.charts import Figure, draw_figures
from dashboards.frames import Frames
from dashboards.summary import summarise
from test_chart_any_frames import PER_HEAD, heads
from test_chart_stores import event_row
from test_report_across import SIZES, many


def figure(frames: Frames, name: str) -> Figure | None:
    return next((one for one in draw_figures(frames) if one.name == name), None)


def rows(frames: Frames) -> list[dict[str, object]]:
    drawn = figure(frames, "lead_lag")
    assert drawn is not None
    return [row for data in drawn.specification()["datasets"].values() for row in data if "pair" in row]


def pair(first: float, second: float) -> Frames:
    events = [event_row("model-70m", "acc", first, 0.1, 0.9), event_row("model-70m", "other", second, 0.9, 0.1)]
    return many(events, SIZES[:1])


def test_a_lag_is_a_factor_of_steps_with_its_interval() -> None:
    (row,) = rows(pair(99, 3999))
    assert (row["pair"], row["order"]) == ("Acc → other", "the first came first")
    assert row["lag"] == 40.0  # (3999 + 1) / (99 + 1)
    assert row["low"] < row["lag"] < row["high"]  # pyright: ignore[reportOperatorIssue]


def test_overlapping_intervals_are_given_no_order() -> None:
    (row,) = rows(pair(1000, 1050))
    assert row["order"] == "the checkpoints do not tell"


def test_one_change_has_no_lag() -> None:
    assert figure(many([event_row("model-70m", "acc", 99, 0.1, 0.9)], SIZES[:1]), "lead_lag") is None


def test_there_is_a_panel_for_each_layer_of_a_metric_that_changes() -> None:
    event = event_row("model", PER_HEAD, 5, 0.1, 0.9, layer=3, head=3)
    drawn = figure(heads(128, [0, 10, 100], events=[event]), f"layer_multiples_{PER_HEAD}")
    assert drawn is not None
    assert [panel["title"] for panel in drawn.specification()["concat"]] == [f"layer {n}" for n in range(4)]
    assert figure(heads(128, [0, 10, 100]), f"layer_multiples_{PER_HEAD}") is None, "nothing changes"
    assert figure(heads(64, [0, 10, 100], events=[event]), f"layer_multiples_{PER_HEAD}") is None, "two layers"


def test_the_summary_of_a_chained_tier_claims_no_common_order() -> None:
    events = [event_row("model-70m", name, step, 0.1, 0.9, lower=low, upper=high)
              for name, step, low, high in (("acc", 100, 50, 900), ("other", 1500, 800, 2000))]  # fmt: skip
    (line,) = summarise(many(events, SIZES[:1])).orders
    assert "in an order that the checkpoints do not tell" in line.text
