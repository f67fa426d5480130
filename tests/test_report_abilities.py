"""Tasks of many models in a report: chance, the step of the rise by size, which task is first."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dashboards.abilities import ability_tables, told
from dashboards.chances import LEAVES, NEVER, UNTESTED, Verdict, chance_table, verdicts
from dashboards.document import compose, html
from dashboards.frames import Frames, prepare, read_frames
from dashboards.gradual import trend
from dashboards.summary import summarise
from dynamics.importing import import_results
from dynamics.store import Store
from test_chart_frames import tables
from test_chart_stores import event_row, metric_row

SIZES = ("70m", "160m", "410m", "1b", "2.8b", "12b")
STEPS = (0, 1, 8, 64, 512, 1000, 3000, 9000, 27000, 81000)
PLACES = {name: place for place, name in enumerate(SIZES)}


def run(
    curves: dict[str, Callable[[int, int], float]], *, stderr: float | None = 0.01, sizes: tuple[str, ...] = SIZES,
    events: list[dict[str, Any]] | None = None, recipe: str | None = None,
) -> Frames:  # fmt: skip
    """A run of models; `curves` give each metric's value at a step in the model of a place."""
    rows = [
        {"stage": "", "version": 1, "series": f"model-{name}", "step": step, "metric": metric, "stderr": stderr,
         "value": curve(step, PLACES.get(name, 0))}
        for name in sizes for step in STEPS for metric, curve in curves.items()
    ]  # fmt: skip
    titles = {metric: metric.replace("_acc", " accuracy").replace("_", " ") for metric in curves}
    metrics = [metric_row(metric, unit="share", title=title) for metric, title in titles.items()]
    runs: list[dict[str, Any]] = [{"run_id": "r", "recipe": recipe}] if recipe else []
    return prepare(tables(rows, metrics=metrics, events=events or [], runs=runs))


def rising(start: float, end: float, by: Callable[[int], float]) -> Callable[[int, int], float]:
    """From one level to another, half-way at a step that depends on the model, over about a decade."""
    return lambda step, place: start + (end - start) / (1 + (by(place) / max(step, 0.1)) ** 2)


def flat(level: float) -> Callable[[int, int], float]:
    return lambda step, place: level + 0.01 * math.sin(step + place)


def only(frames: Frames, metric: str, series: str = "model-70m") -> Verdict:
    return next(one for one in verdicts(frames) if (one.metric, one.series) == (metric, series))


def test_the_gap_in_which_a_task_leaves_chance() -> None:
    verdict = only(run({"sciq_acc": rising(0.25, 0.8, lambda _: 1000)}), "sciq_acc")
    assert (verdict.status, verdict.lower, verdict.upper) == (LEAVES, 64, 512)  # 0.25 + 0.55 / (1 + (1000 / 512)²)
    assert verdict.k == pytest.approx(2.5758, abs=1e-3)  # 5 % over ten checkpoints, one-sided


def test_chance_is_not_left_by_one_checkpoint_nor_by_what_an_untrained_model_prefers() -> None:
    once = run({"sciq_acc": lambda step, _: 0.4 if step == 512 else 0.25})
    assert only(once, "sciq_acc").status == NEVER
    assert only(run({"piqa_acc": flat(0.56)}), "piqa_acc").status == NEVER
    assert only(run({"piqa_acc": lambda step, _: 0.56 if step else 0.5}), "piqa_acc").status == LEAVES


def test_the_same_answer_to_every_question_is_no_ability() -> None:
    jump = rising(0.365, 0.635, lambda _: 1000)
    assert only(run({"wsc_acc": jump}, stderr=0.047), "wsc_acc").status == NEVER
    assert only(run({"winogrande_acc": jump}, stderr=0.014), "winogrande_acc").status == LEAVES


def test_errors_are_binomial_where_none_are_given_and_else_it_is_not_tested() -> None:
    small = rising(0.25, 0.30, lambda _: 100)
    assert only(run({"sciq_acc": small}, stderr=None), "sciq_acc").status == NEVER  # 1000 questions: 0.0145
    assert only(run({"hellaswag_acc": small}, stderr=None), "hellaswag_acc").status == LEAVES  # 10042: 0.0046
    table = chance_table(run({"mmlu_anatomy_acc": small}, stderr=None))
    assert table is not None
    assert table.rows[0][2] == "not testable: no errors"
    assert only(run({"mmlu_anatomy_acc": small}, stderr=None), "mmlu_anatomy_acc").status == UNTESTED


def test_the_recipe_s_chance_levels_are_used() -> None:
    frames = run({"mine_acc": flat(0.1)}, recipe='{"chance": {"mine": 0.1}}')
    assert only(frames, "mine_acc").status == NEVER
    assert verdicts(run({"mine_acc": flat(0.1)})) == ()


def test_changes_in_tasks_at_chance_are_counted_and_told_as_such() -> None:
    events = [event_row("model-70m", "wsc_acc", 900, 0.6, 0.4), event_row("model-12b", "wsc_acc", 900, 0.4, 0.6)]
    frames = run({"wsc_acc": flat(0.5), "loss": flat(3)}, stderr=0.05, events=events)
    table = chance_table(frames)
    assert table is not None
    assert table.rows == [["Wsc accuracy", "0.5; one answer to all 0.635", "6 of 6", "–", "0.502–0.51", "2"]]
    said = [line.text for line in summarise(frames).headlines]
    assert said[0] == "in model-70m alone of 6 series, at step 900, without ever leaving chance."


def test_the_steps_of_the_rise_by_model_size() -> None:
    events = [event_row("model-12b", "sciq_acc", 1000, 0.25, 0.8)]
    frames = run({"sciq_acc": rising(0.25, 0.8, lambda _: 1000), "logiqa_acc": flat(0.25)}, events=events)
    steps = next(table for table in ability_tables(frames) if table.title.startswith("When each task rises"))
    assert steps.columns == ["Model", "sciq"]
    assert [row[0] for row in steps.rows] == [f"model-{name}" for name in SIZES]
    assert steps.rows[-1][1] == "1,000 (880–1,140)"
    assert steps.rows[0][1] == "gradual 995"  # the ends are means of three checkpoints


def test_bigger_models_that_are_earlier_are_told_and_equal_ones_are_not() -> None:
    earlier = run({"sciq_acc": rising(0.25, 0.8, lambda place: 6000 / 2**place)})
    assert told(earlier)[1:] == [
        "Bigger models reach the same accuracy earlier in sciq.",
        "Bigger models are half-way through their own rise earlier in sciq.",
    ]
    size = next(table for table in ability_tables(earlier) if table.title.startswith("Do bigger"))
    assert size.rows[0][:2] == ["sciq", "model (6)"]
    assert size.rows[0][2] == "−1, p\u00a0=\u00a00.0028"  # 2 / 6!
    mixed = run({"sciq_acc": rising(0.25, 0.8, lambda place: 1000 + 400 * (place * 5 % 6 % 3))})
    assert told(mixed)[1:] == [
        "Whether bigger models reach the same accuracy earlier cannot be told.",
        "Whether bigger models are half-way through their own rise earlier cannot be told.",
    ]


def test_families_of_few_sizes_are_not_correlated() -> None:
    frames = run({"sciq_acc": rising(0.25, 0.8, lambda place: 6000 / 2**place)}, sizes=SIZES[:4])
    assert not [table for table in ability_tables(frames) if table.title.startswith("Do bigger")]


def test_which_task_leaves_chance_first() -> None:
    frames = run({
        "sciq_acc": rising(0.25, 0.8, lambda _: 300), "arc_easy_acc": rising(0.25, 0.8, lambda _: 6000),
        "arc_challenge_acc": rising(0.25, 0.8, lambda _: 310),
    })  # fmt: skip
    table = next(table for table in ability_tables(frames) if table.title.startswith("Which task"))
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    first, second = (name for name in rows if name != "arc easy")
    assert rows[first][f"before {second}"] == "0 · 0 · 6"
    assert rows[first]["before arc easy"] == rows[second]["before arc easy"] == "6 · 0 · 0"


def test_the_page_says_which_tasks_leave_chance() -> None:
    frames = run({"sciq_acc": rising(0.25, 0.8, lambda _: 1000), "logiqa_acc": flat(0.25)})
    page = html(compose(frames, "abilities"))
    assert "Tasks that leave chance: sciq in every series; logiqa in none." in page
    assert "Which tasks leave chance</h3>" in page


def test_the_published_pythia_evaluations(reference_data: Callable[[str], Path], tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        path = reference_data("data/pythia_v1_zeroshot_evals.parquet")
        import_results(path, store, only=("lambada_openai_acc", "sciq_acc", "logiqa_acc", "wsc_acc"))
    found = verdicts(read_frames(tmp_path))
    assert {one.status for one in found if one.metric in ("logiqa_acc", "wsc_acc")} == {NEVER}
    gaps = [(one.lower, one.upper) for one in found if one.metric in ("lambada_openai_acc", "sciq_acc")]
    assert gaps == [(512, 1000)] * 32


@pytest.mark.parametrize(("end", "way"), [(0.7, 1), (0.3, -1), (0.52, 0)])
def test_a_gradual_way_is_told_where_the_ends_differ_by_more_than_their_errors(end: float, way: int) -> None:
    values = [0.5 + (end - 0.5) * place / 9 for place in range(10)]
    given = pl.DataFrame({"step": STEPS, "value": values, "stderr": [0.02] * 10})
    assert trend(given) == way
    noise = [0.03 * (-1) ** place for place in range(10)]
    unknown = pl.DataFrame({"step": STEPS, "value": [a + b for a, b in zip(values, noise, strict=True)],
                            "stderr": pl.Series([None] * 10, dtype=pl.Float64)})  # fmt: skip
    assert trend(unknown) == 0 if way == 0 else trend(given) == way
