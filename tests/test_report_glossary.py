"""Words are explained in the report that uses them: those of changes, and each metric by the question it answers."""

from __future__ import annotations

from pathlib import Path

from dashboards.document import compose, html, markdown
from dashboards.frames import prepare, read_frames
from dashboards.glossary import question, questions, words
from metrics import METRICS
from test_chart_any_frames import heads
from test_chart_frames import tables
from test_chart_stores import write_induction_run


def test_every_metric_has_a_question_that_is_read_without_importing_it() -> None:
    assert set(METRICS) <= set(questions())
    assert all(said.endswith("?") and "\n" not in said for said in questions().values())


def test_the_words_of_a_report_are_those_it_uses(tmp_path: Path) -> None:
    told = dict(words(read_frames(write_induction_run(tmp_path / "run"))))
    assert told["L1H0"] == "head 0 of layer 1; both are counted from 0"
    assert told["Prefix matching"] == questions()["prefix_matching"]
    assert {"curve", "midpoint", "q"} <= set(told)
    assert "Excluded loss" not in told


def test_without_a_change_no_word_of_changes_is_explained() -> None:
    assert dict(words(heads(4, [0, 10]))).keys() == {"Prefix matching"}
    assert words(prepare(tables([]))) == []


def test_a_figure_of_one_metric_says_its_question() -> None:
    assert question(("loss",)) == questions()["loss"]
    assert question(("loss", "accuracy")) == ""
    assert question(("somebody's own",)) == ""


def test_page_and_markdown_explain_the_words(tmp_path: Path) -> None:
    document = compose(read_frames(write_induction_run(tmp_path / "run")), "a run")
    asked = questions()["prefix_matching"]
    assert f"<dd>{asked}</dd>" in html(document)
    assert f"- **Prefix matching**: {asked}" in markdown(document)
    assert f'<p class="note question">{asked}</p>' in html(document)  # above its figure
