"""Words are explained in the report that uses them: those of changes, and each metric by the question it answers."""

from __future__ import annotations

from pathlib import Path

from dashboards.document import compose, html, markdown
from dashboards.frames import prepare, read_frames
from dashboards.glossary import question, words
from dynamics.rows import of_metric
from metrics import METRICS
from test_chart_any_frames import heads
from test_chart_frames import tables
from test_chart_stores import write_induction_run

ASKED = "Does the prefix matching rise?"


def test_every_metric_has_a_question_that_the_store_keeps() -> None:
    assert of_metric(METRICS["loss"])["question"] == "How well does the model predict the next token of the text?"
    assert all(metric.question.endswith("?") for metric in METRICS.values())


def test_the_words_of_a_report_are_those_it_uses(tmp_path: Path) -> None:
    told = dict(words(read_frames(write_induction_run(tmp_path / "run"))))
    assert told["head, L1H0"].endswith("L1H0 is head 0 of layer 1; both are counted from 0")
    assert told["induction heads form"].startswith("heads come to attend to what followed")
    assert {"series", "checkpoint", "token, context", "loss, nats", "task, n, hash"} <= set(told)
    assert told["Prefix matching"] == ASKED
    assert {"curve", "midpoint", "q"} <= set(told)
    assert "Excluded loss" not in told


def test_without_a_change_no_word_of_changes_is_explained() -> None:
    told = dict(words(heads(4, [0, 10], question=ASKED)))
    assert told["Prefix matching"] == ASKED
    assert {"series", "checkpoint", "head, L1H0"} <= set(told)
    assert not {"curve", "midpoint", "q", "induction heads form"} & set(told)
    assert words(prepare(tables([]))) == []


def test_a_figure_of_one_metric_says_its_question() -> None:
    frames = heads(4, [0, 10], question=ASKED)
    assert question(frames, ("prefix_matching",)) == ASKED
    assert question(frames, ("prefix_matching", "accuracy")) == ""
    assert question(frames, ("somebody's own",)) == ""


def test_page_and_markdown_explain_the_words(tmp_path: Path) -> None:
    document = compose(read_frames(write_induction_run(tmp_path / "run")), "a run")
    assert f"<dd>{ASKED}</dd>" in html(document)
    assert f"- **Prefix matching**: {ASKED}" in markdown(document)
    assert f'<p class="note question">{ASKED}</p>' in html(document)  # above its figure


def test_what_a_phase_change_is_stands_apart_from_its_source(tmp_path: Path) -> None:
    document = compose(read_frames(write_induction_run(tmp_path / "run")), "a run")
    for text in (html(document), markdown(document)):
        assert "whatever the text repeats; Olsson et al. 2022" in text
