"""What the words of a report mean: those of changes, and of each metric the question that it answers."""

from __future__ import annotations

import polars as pl

from dashboards.frames import Frames
from dashboards.theme import P95

MAX_METRICS = 12  # in the list of words; every figure says the question of its own metric
Word = tuple[str, str]


def question(frames: Frames, metrics: tuple[str, ...]) -> str:
    """The question that the one metric of a figure answers, or nothing."""
    return frames.question(metrics[0]) if len(metrics) == 1 else ""


def words(frames: Frames) -> list[Word]:
    """The words that this report uses, in the order in which a reader meets them."""
    return [*_words_of_changes(frames), *_words_of_metrics(frames)]


def _words_of_changes(frames: Frames) -> list[Word]:
    if frames.events.is_empty():
        return []
    told = [
        ("curve", "one metric of one series in one place of it, such as one head, over the checkpoints"),
        ("change", "a stretch of a curve in which it moves faster, over the logarithm of the step, than gradual "
                   "learning would: a rise or fall, a bulge off the trend, a halt, a bend or a spike"),
        ("midpoint", f"the step at which the change is half done. Its {P95} interval, in small numbers, holds it with "
                     f"{P95} confidence; between two checkpoints no better can be said"),
        ("onset, completion", "the steps between which nearly all of the change takes place"),
        ("q", "how sure a change is: the share of false alarms to expect among changes at least as clear, over all "
              "curves that were looked at. p is the same for this curve alone"),
        ("small change", "one of less than a tenth of its metric's range: as sure as its q says, but little"),
    ]  # fmt: skip
    if frames.events.filter(pl.col("head").is_not_null()).height:
        told.append(("L1H0", "head 0 of layer 1; both are counted from 0"))
    return told


def _words_of_metrics(frames: Frames) -> list[Word]:
    changed = frames.events.sort("large", "share", descending=True, nulls_last=True)["metric"]
    named = dict.fromkeys((*changed.unique(maintain_order=True), *frames.names()))
    asked = [(frames.title(name), frames.question(name)) for name in named]
    return [(title, said) for title, said in asked if said][:MAX_METRICS]
