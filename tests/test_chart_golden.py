"""Chart specifications against stored ones, without their data. UPDATE_GOLDEN=1 writes them: look at the charts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dashboards.charts import Figure, draw_chart, load_charts
from dashboards.frames import Frames, read_frames
from test_chart_any_frames import every_metric
from test_chart_stores import write_grokking_run, write_induction_run

GOLDEN = Path(__file__).parent / "golden"
INDUCTION = ("event_timeline", "in_context", "head_trajectories", "loss_by_position", "lead_lag", "head_grid",
             "checkpoint_strip", "position_slope", "per_token_trajectory")  # fmt: skip
GROKKING = ("grokking", "excluded_by_frequency")


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    """Every chart once: of the made-up induction and grokking runs, the others of a run that has every metric."""
    induction = read_frames(write_induction_run(tmp_path_factory.mktemp("a")))
    grokking = read_frames(write_grokking_run(tmp_path_factory.mktemp("b")))
    frames: dict[str, Frames] = dict.fromkeys(load_charts(), every_metric([0, 1, 10, 100, 1000]))
    frames |= dict.fromkeys(INDUCTION, induction) | dict.fromkeys(GROKKING, grokking)
    return {name: draw_chart(frames[name], name) for name in load_charts()}


def normalised(spec: dict[str, Any]) -> dict[str, Any]:
    """The specification with each data set as the names of its columns, under a name that does not change."""
    names = {name: f"data_{number}" for number, name in enumerate(spec.get("datasets", {}))}
    columns = {names[name]: sorted(rows[0]) if rows else [] for name, rows in spec.pop("datasets", {}).items()}
    text = json.dumps({**spec, "columns": columns})
    for name, short in names.items():
        text = text.replace(f'"{name}"', f'"{short}"')
    return json.loads(text)


@pytest.mark.parametrize("name", sorted(load_charts()))
def test_the_specification_is_the_stored_one(figures: dict[str, Figure], name: str) -> None:
    spec = normalised(figures[name].specification())
    path = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(json.dumps(spec, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    assert spec == json.loads(path.read_text(encoding="utf-8"))


def test_no_stored_specification_is_of_a_chart_that_is_gone() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(load_charts())


def test_every_chart_has_a_title_a_docstring_and_a_caption(figures: dict[str, Figure]) -> None:
    for entry in load_charts().values():
        assert entry.title
        assert entry.draw.__doc__
    for figure in figures.values():
        assert figure.specification()["description"]


def test_no_chart_names_a_colour(figures: dict[str, Figure]) -> None:
    for figure in figures.values():
        assert "#" not in json.dumps(normalised(figure.specification())), figure.name
