"""Chart specifications against stored ones, without their data. UPDATE_GOLDEN=1 writes them: look at the charts."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from dashboards.charts import draw_chart, load_charts
from dashboards.frames import Frames, read_frames
from test_chart_any_frames import every_metric
from test_chart_stores import write_grokking_run, write_induction_run

GOLDEN = Path(__file__).parent / "golden"
INDUCTION = ("event_timeline", "in_context", "head_trajectories", "loss_by_position", "lead_lag", "head_grid",
             "checkpoint_strip", "position_slope", "per_token_trajectory")  # fmt: skip
GROKKING = ("grokking", "excluded_by_frequency")
# Charts with a panel for each metric draw a few, one of each kind that they draw.
PANELS = {
    "seeds": ("prefix_matching", "stable_rank"), "models_by_step": ("prefix_matching", "loss"),
    "models_by_tokens": ("accuracy", "loss"), "models_by_loss": ("prefix_matching", "accuracy", "loss"),
    "scalar_curves": ("accuracy", "loss"),
}  # fmt: skip


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Every chart once, held against Vega-Lite's schema: of the made-up induction and grokking runs, the others of a
    run that has every metric or, where each has a panel, a few.
    """
    steps = [0, 1, 10, 100, 1000]
    induction = read_frames(write_induction_run(tmp_path_factory.mktemp("a")))
    grokking = read_frames(write_grokking_run(tmp_path_factory.mktemp("b")))
    frames: dict[str, Frames] = dict.fromkeys(load_charts(), every_metric(steps))
    frames |= dict.fromkeys(INDUCTION, induction) | dict.fromkeys(GROKKING, grokking)
    frames |= {name: every_metric(steps, places=1, metrics=metrics) for name, metrics in PANELS.items()}
    drawn = {name: draw_chart(frames[name], name).specification(check=True) for name in load_charts()}
    return {name: normalised(spec) for name, spec in drawn.items()}


def normalised(spec: dict[str, Any]) -> dict[str, Any]:
    """The specification with each data set as the names of its columns, under a name that does not change."""
    names = {name: f"data_{number}" for number, name in enumerate(spec.get("datasets", {}))}
    columns = {names[name]: sorted(rows[0]) if rows else [] for name, rows in spec.pop("datasets", {}).items()}
    text = json.dumps({**spec, "columns": columns})
    for name, short in names.items():
        text = text.replace(f'"{name}"', f'"{short}"')
    return json.loads(text)


def written(spec: dict[str, Any]) -> str:
    """As JSON that a reader of a change can read: a list of numbers or names on one line."""
    text = json.dumps(spec, indent=1, ensure_ascii=False, sort_keys=True)
    return re.sub(r"\[\n *([^\[\]{}]*)\n *\]", lambda found: "[" + re.sub(r"\n *", " ", found[1]) + "]", text) + "\n"


@pytest.mark.parametrize("name", sorted(load_charts()))
def test_the_specification_is_the_stored_one(specs: dict[str, dict[str, Any]], name: str) -> None:
    path = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(written(specs[name]), encoding="utf-8")
    assert specs[name] == json.loads(path.read_text(encoding="utf-8"))


def test_no_stored_specification_is_of_a_chart_that_is_gone() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(load_charts())


def test_every_chart_has_a_title_a_docstring_and_a_caption(specs: dict[str, dict[str, Any]]) -> None:
    for entry in load_charts().values():
        assert entry.title
        assert entry.draw.__doc__
    for name, spec in specs.items():
        assert spec["description"], name


def test_no_chart_names_a_colour(specs: dict[str, dict[str, Any]]) -> None:
    for name, spec in specs.items():
        assert "#" not in json.dumps(spec), name
