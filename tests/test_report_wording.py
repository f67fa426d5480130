"""Sentences for readers who know neither the detector nor a metric's labels."""

from __future__ import annotations

import polars as pl

from dashboards import order
from dashboards.frames import Frames
from dashboards.summary import summarise
from dashboards.wording import doubt, remark
from test_chart_stores import event_row
from test_report_across import SIZES, many


def test_the_notes_of_the_detector_say_what_they_mean_for_the_reader() -> None:
    note = "on log10 of the value, which changes by -0.975; fewer than 5 checkpoints after it"
    event = event_row("model", "loss", 10, 4.0, 1.0) | {"note": note}
    assert remark(event) == ["Seen on a logarithmic scale: log₁₀ of the value changes by −0.975"]
    assert doubt(pl.DataFrame([event])) == "fewer than 5 checkpoints after it: it may not be over"
    quick = event | {"note": "between two checkpoints: sharpness is an upper bound"}
    assert doubt(pl.DataFrame([quick])) == "it may have been quicker: all of it fits between two checkpoints"


def apart(count: int) -> Frames:
    """Changes that come one after the other."""
    events = [event_row(f"model-{SIZES[0]}", "acc", 10.0 * 3**k, 0.1, 0.9, lower=9.0 * 3**k, upper=11.0 * 3**k)
              for k in range(count)]  # fmt: skip
    return many(events, SIZES[:1])


def test_an_order_of_many_changes_is_told_in_a_few_clauses() -> None:
    frames = apart(12)
    events = frames.events.to_dicts()
    text = order.told(frames, events, [int(12 * 3**k) for k in range(12)])
    assert text.count("; then ") == order.MAX_TIERS
    assert "6 more groups of changes, which the timeline shows; then last the rise of acc" in text
    short = order.told(frames, events[:3], [int(12 * 3**k) for k in range(12)])
    assert short.startswith("first the rise of acc (steps 9–11); then the rise of acc (steps 27–33); then")


def test_a_label_stands_in_quotes_for_it_may_be_any_word() -> None:
    events = [event_row("model-70m", "acc", 99, 0.1, 0.9, label="none")]
    (finding,) = summarise(many(events, SIZES[:1])).findings
    assert "“none”" in finding.claim
