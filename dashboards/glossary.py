"""What the words of a report mean: those of changes, and of each metric the question that it answers."""

from __future__ import annotations

from dashboards.frames import Frames
from dashboards.named import phase_changes
from dashboards.theme import P95

MAX_METRICS = 12  # in the list of words; every figure says the question of its own metric
Word = tuple[str, str]
FIELD = {
    "series": "the training of one model, as a row of checkpoints",
    "checkpoint": "the model as it was saved at one step of its training; a step is one update of its weights",
    "token, context": "what a language model reads piece by piece, a word or a part of one, is a token; the tokens "
                      "before the one that it predicts are its context",
    "head, L1H0": "each layer of a transformer has attention heads, each of which looks back at earlier tokens in a "
                  "way of its own. L1H0 is head 0 of layer 1; both are counted from 0",
    "loss, nats": "how far predictions are from what came: the negative natural logarithm of the probability that the "
                  "model gave it, so that 0 is certainty and lower is better",
    "task, n, hash": "below each figure: the fixed inputs on which its numbers were measured, of how many of them a "
                     "number is the mean, and what identifies them",
}  # fmt: skip


def question(frames: Frames, metrics: tuple[str, ...]) -> str:
    """The question that the one metric of a figure answers, or nothing."""
    return frames.question(metrics[0]) if len(metrics) == 1 else ""


def words(frames: Frames) -> list[Word]:
    """The words that this report uses, in the order in which a reader meets them."""
    return [*_words_of_runs(frames), *_words_of_changes(frames), *_words_of_phases(frames), *_words_of_metrics(frames)]


def _words_of_runs(frames: Frames) -> list[Word]:
    """The field's own words, those that this run's metrics and figures use."""
    names = frames.names()
    said = " ".join(f"{frames.title(name)} {frames.question(name)}".lower() for name in names)
    used = {
        "series": bool(names), "checkpoint": bool(names), "token, context": "token" in said or "context" in said,
        "head, L1H0": frames.measurements["head"].drop_nulls().len() > 0,
        "loss, nats": "nats" in {frames.unit(name) for name in names},
        "task, n, hash": bool(names) and frames.tasks.height > 0,
    }  # fmt: skip
    return [(word, FIELD[word]) for word, there in used.items() if there]


def _words_of_phases(frames: Frames) -> list[Word]:
    found = {change.rule: change.meaning() for change in phase_changes(frames)} if frames.events.height else {}
    return [(rule, meaning) for rule, meaning in found.items() if meaning]


def _words_of_changes(frames: Frames) -> list[Word]:
    if frames.events.is_empty():
        return []
    return [
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


def _words_of_metrics(frames: Frames) -> list[Word]:
    changed = frames.events.sort("large", "share", descending=True, nulls_last=True)["metric"]
    named = dict.fromkeys((*changed.unique(maintain_order=True), *frames.names()))
    asked = [(frames.title(name), frames.question(name)) for name in named]
    return [(title, said) for title, said in asked if said][:MAX_METRICS]
