"""Chart specifications against stored ones, without their data. UPDATE_GOLDEN=1 writes them: look at the charts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dashboards.charts import Figure, draw_figures, load_charts
from dashboards.frames import read_frames
from test_chart_stores import write_grokking_run, write_induction_run

GOLDEN = Path(__file__).parent / "golden"
NAMES = (
    "event_timeline", "in_context", "head_trajectories_prefix_matching", "loss_by_position", "grokking", "lead_lag",
    "head_grid", "checkpoint_strip", "position_slope", "per_token_trajectory",
)  # fmt: skip


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    runs = write_induction_run(tmp_path_factory.mktemp("a")), write_grokking_run(tmp_path_factory.mktemp("b"))
    drawn = [figure for run in runs for figure in draw_figures(read_frames(run))]
    return {figure.name: figure for figure in drawn if figure.name != "event_timeline" or len(figure.metrics) == 0}


def normalised(spec: dict[str, Any]) -> dict[str, Any]:
    """The specification with each data set as the names of its columns, under a name that does not change."""
    names = {name: f"data_{number}" for number, name in enumerate(spec.get("datasets", {}))}
    columns = {names[name]: sorted(rows[0]) if rows else [] for name, rows in spec.pop("datasets", {}).items()}
    text = json.dumps({**spec, "columns": columns})
    for name, short in names.items():
        text = text.replace(f'"{name}"', f'"{short}"')
    return json.loads(text)


@pytest.mark.parametrize("name", NAMES)
def test_the_specification_is_the_stored_one(figures: dict[str, Figure], name: str) -> None:
    spec = normalised(figures[name].specification())
    path = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(json.dumps(spec, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    assert spec == json.loads(path.read_text(encoding="utf-8"))


def test_every_chart_has_a_title_a_docstring_and_a_caption(figures: dict[str, Figure]) -> None:
    for entry in load_charts().values():
        assert entry.title
        assert entry.draw.__doc__
    for figure in figures.values():
        assert figure.specification()["description"]


def test_no_chart_names_a_colour(figures: dict[str, Figure]) -> None:
    for figure in figures.values():
        assert "#" not in json.dumps(normalised(figure.specification())), figure.name
