"""A task's size chosen by the standard error wanted: decided once, at the last checkpoint, and written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import dynamics
from conftest import tiny_model
from dynamics.cli import app
from dynamics.demo import tokenizer
from dynamics.errors import UsageError
from dynamics.sizing import FEWEST, MOST, settings_of_all
from dynamics.training import save

Asked = dict[str, dict[str, Any]]


def measure(series: Path, metrics: list[str], out: Path, tasks: Asked, steps: str = "all") -> dynamics.Run:
    return dynamics.measure(dynamics.open_series(f"folder:{series}", steps=steps), metrics, out=out,
                            settings=dynamics.Settings(tasks=tasks))  # fmt: skip


def settings_in(run: dynamics.Run, task: str) -> dict[str, Any]:
    (row,) = run.query(f"SELECT DISTINCT settings FROM tasks WHERE task = '{task}'")["settings"].to_list()
    return json.loads(row)


def test_the_widest_head_has_about_the_standard_error_wanted_and_every_checkpoint_the_same_examples(
    tiny_series: Path, tmp_path: Path
) -> None:
    run = measure(tiny_series, ["prefix_matching"], tmp_path / "run", {"repeated_tokens": {"stderr": 0.001}})
    pilot = settings_in(run, "repeated_tokens")["pilot"]
    assert (pilot["of"], pilot["n"], pilot["unit"]) == ("prefix_matching", 64, "probability")
    assert FEWEST < pilot["n_examples"] == pilot["wanted"] < MOST
    assert pilot["n_examples"] == pytest.approx((pilot["deviation"] / 0.001) ** 2, abs=1)
    curves = run.measurements()
    assert curves["n"].unique().to_list() == [pilot["n_examples"]]
    assert curves["step"].n_unique() == 4
    assert curves.filter(step=1000)["stderr"].max() == pytest.approx(0.001, rel=0.3)


def test_a_growing_series_keeps_its_inputs(tiny_series: Path, tmp_path: Path) -> None:
    asked = {"repeated_tokens": {"stderr": 0.002}}
    measure(tiny_series, ["prefix_matching"], tmp_path / "run", asked)
    save(tiny_model(9), tiny_series / "step9999", tokenizer())
    run = measure(tiny_series, ["prefix_matching", "induction_score"], tmp_path / "run", asked)
    assert run.measurements()["n"].n_unique() == 1
    assert run.query("SELECT count(DISTINCT task_hash) AS n FROM measurements")["n"].item() == 1
    other = measure(tiny_series, ["prefix_matching"], tmp_path / "run", {"repeated_tokens": {"stderr": 0.004}})
    assert other.query("SELECT count(DISTINCT task_hash) AS n FROM measurements")["n"].item() == 2


def test_the_last_checkpoint_is_the_one_that_is_asked(tiny_series: Path, tmp_path: Path) -> None:
    """Only there do the two series differ."""
    asked = {"repeated_tokens": {"stderr": 0.001}}
    deviations = []
    for out, steps in (("all", "all"), ("early", "0,10,100"), ("last", "1000")):
        run = measure(tiny_series, ["prefix_matching"], tmp_path / out, asked, steps)
        deviations.append(settings_in(run, "repeated_tokens")["pilot"]["deviation"])
    assert deviations[0] == deviations[2] != deviations[1]


def test_a_text_that_is_too_short_gives_what_it_has(tiny_series: Path, text: Path, tmp_path: Path) -> None:
    asked = {"text": {"stderr": 1e-6, "path": str(text), "documents": "lines"}}
    settings = settings_in(measure(tiny_series, ["loss"], tmp_path / "run", asked), "text")
    assert settings["pilot"]["n_examples"] == MOST < settings["pilot"]["wanted"]
    assert settings["n_examples"] == settings["windows_available"] == 16


@pytest.mark.parametrize(("asked", "message"), [
    ({"stderr_of": "prefix_matching"}, "unknown metric of task 'text' with a value for each example"),
    ({"stderr_of": "perplexity"}, "unknown metric of task 'text' with a value for each example"),
    ({"n_examples": 1}, "has 1 example for its pilot"),
    ({"stderr": 0.0}, "setting 'stderr': Input should be greater than 0"),
])  # fmt: skip
def test_what_cannot_be_decided_is_refused(
    asked: dict[str, Any], message: str, tiny_series: Path, text: Path, tmp_path: Path
) -> None:
    given = {"text": {"stderr": 0.1, "path": str(text), "documents": "lines"} | asked}
    with pytest.raises(UsageError, match=message):
        measure(tiny_series, ["loss"], tmp_path / "run", given)


def test_the_command_line_asks_it_of_every_task_with_examples(tiny_series: Path, tmp_path: Path) -> None:
    sized, read = settings_of_all(stderr=0.5), settings_of_all(text="a.txt")
    assert {"text", "repeated_tokens", "bigrams", "ngrams"} <= sized.keys()
    assert not {"modular_addition", "sparse_parity"} & sized.keys()
    assert read["text"] == read["bigrams"] == {"path": "a.txt"}
    assert "repeated_tokens" not in read
    command = ["measure", f"folder:{tiny_series}", "--metrics", "prefix_matching", "--out", str(tmp_path / "run")]
    assert CliRunner().invoke(app, [*command, "--stderr", "0.5"]).exit_code == 0
    assert settings_in(dynamics.Run(tmp_path / "run"), "repeated_tokens")["n_examples"] == FEWEST
