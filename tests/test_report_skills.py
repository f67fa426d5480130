"""The report's table of single skills, and the command that prints it."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest

from dashboards.frames import read_frames
from dashboards.report import write_report
from dashboards.skills import MAX_ROWS, skill_tables
from dynamics import cli
from dynamics.store import Store, to_json

STEPS = (0, 10, 20, 30)
SUDDEN, GRADUAL = (4.0, 4.1, 0.2, 0.1), (4.0, 3.0, 1.5, 0.1)


def make_run(folder: Path, curves: dict[str, tuple[float, ...]], metric: str, axis: str, task: str) -> Path:
    rows = [
        {"series": "s", "stage": "", "step": step, "metric": metric, "value": value, "weights_sha": f"w{step}",
         "task_hash": "t", "version": 1, axis: int(name) if axis == "index" else name}
        for name, values in curves.items() for step, value in zip(STEPS, values, strict=True)
    ]  # fmt: skip
    tokens = [{"quantum": "1: ‘b’", "context": context, "token": "b"} for context in ("<b>a", "c")]
    with Store(folder) as store:
        store.write(
            measurements=pl.DataFrame(rows), series=[{"series": "s"}], runs=[{"run_id": "r"}],
            checkpoints=[{"series": "s", "stage": "", "step": step, "weights_sha": f"w{step}", "status": "measured"}
                         for step in STEPS],
            metrics=[{"metric": metric, "version": 1, "title": "Loss of skills", "axes": axis, "unit": "nats"}],
            tasks=[{"task": task, "task_hash": "t", "settings": to_json({"tokens": tokens})}],
            plans=[{"run_id": "r", "series": "s", "metric": metric, "task_hash": "t", "version": 1}],
        )  # fmt: skip
    return folder


def test_each_quantum_is_told_with_its_fall_and_its_examples(tmp_path: Path) -> None:
    make_run(tmp_path, {"1: ‘b’": SUDDEN, "2: ‘c’": GRADUAL}, "quantum_loss", "label", "quanta")
    (table,) = skill_tables(read_frames(tmp_path))
    assert table.title == "Loss of skills: 1 of 2 monogenic"
    assert table.columns[-1] == "Examples"
    assert table.rows[0] == ["1: ‘b’", "4", "0.1", "20", "100%", "between 10 and 20", "<b>a[b] · c[b] (2 in all)"]
    assert table.rows[1][:6] == ["2: ‘c’", "4", "0.1", "20", "38%", "no"]


def test_of_many_tokens_the_most_sudden_are_shown(tmp_path: Path) -> None:
    curves = {str(n): SUDDEN if n == 70 else GRADUAL for n in range(80)}
    make_run(tmp_path, curves, "quantum_token_loss", "index", "quanta")
    (table,) = skill_tables(read_frames(tmp_path))
    assert len(table.rows) == MAX_ROWS
    assert table.rows[0][0] == "token 70"
    assert "30 most sudden of 80" in table.note


def test_a_run_without_single_skills_has_no_such_table(tmp_path: Path) -> None:
    make_run(tmp_path, {"a": SUDDEN}, "loss", "label", "text")
    assert skill_tables(read_frames(tmp_path)) == []


def test_the_report_shows_the_table_and_escapes_what_stands_in_it(tmp_path: Path) -> None:
    make_run(tmp_path, {"1: ‘b’": SUDDEN}, "quantum_loss", "label", "quanta")
    page = write_report(tmp_path).read_text("utf-8")
    assert "1 of 1 monogenic" in page
    assert "&lt;b&gt;a[b]" in page


def test_the_command_tells_which_curves_fall_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, {"1: ‘b’": SUDDEN, "2: ‘c’": GRADUAL}, "quantum_loss", "label", "quanta")

    def said(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["dynamics", "monogenic", str(tmp_path), *arguments])
        cli.app(standalone_mode=False)
        return capsys.readouterr().out

    lines = said().splitlines()
    assert lines[0].endswith("monogenic,before,after,largest_drop_share")
    assert ["true" in line for line in lines[1:]] == [True, False]
    assert "true" not in said("--metric", "quantum_loss", "--drop", "5")
    monkeypatch.setattr(sys, "argv", ["dynamics", "monogenic", str(tmp_path), "--metric", "lost"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "has no measurements of lost" in capsys.readouterr().err
