"""What a notebook shows: charts by name, frames, and the example notebook from its first cell to its last."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import pytest

import dynamics
from dashboards.frames import read_tables
from dashboards.pictures import svg
from dynamics.errors import UsageError
from dynamics.store import FILE_NAME, Store
from test_chart_stores import metric_row, write_induction_run

NOTEBOOK = Path(__file__).parents[1] / "docs" / "example.ipynb"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dynamics.Run:
    folder = write_induction_run(tmp_path_factory.mktemp("home") / "runs" / "demo")
    with Store(folder) as store:
        asked = store.query("SELECT DISTINCT series, metric, task_hash, version, run_id FROM measurements")
        store.write(plans=asked)
    return dynamics.Run(folder)


def test_a_chart_is_altairs_own_and_displays(run: dynamics.Run) -> None:
    chart = run.chart("head_trajectories")
    assert isinstance(chart, alt.TopLevelMixin), "marimo shows Altair's charts, and nothing that is only like one"
    assert "prefix_matching" in json.dumps(chart.to_dict()), "by default the metric with most large changes"
    shown = chart._repr_mimebundle_()
    bundle = shown[0] if isinstance(shown, tuple) else shown
    assert any("vegalite" in kind or kind == "text/html" for kind in bundle)


def test_another_metric_can_be_named(run: dynamics.Run) -> None:
    described = run.chart("head_trajectories", "previous_token_attention").to_dict()
    rows = [row for rows in described["datasets"].values() for row in rows if "curve" in row]
    assert {row["curve"].split("|")[1] for row in rows} == {"previous_token_attention"}


@pytest.mark.parametrize("name", ["head_trajectories", "event_timeline", "in_context"])
def test_a_chart_fits_a_cell_of_a_notebook(run: dynamics.Run, name: str) -> None:
    drawn = svg(run.chart(name).to_dict())
    assert float(drawn.split('width="')[1].split('"')[0]) <= 740, "marimo cuts off what is wider"


def test_a_chart_can_stand_in_another(run: dynamics.Run) -> None:
    chart = run.chart("head_trajectories").properties(title="mine")
    assert chart.to_dict()["title"] == "mine"


@pytest.mark.parametrize(
    ("name", "metric", "said"),
    [
        ("head_trajectory", None, "unknown chart .* did you mean 'head_trajectories'.*dynamics list charts"),
        ("head_trajectories", "prefix", "unknown metric .*did you mean 'prefix_matching'"),
        ("grokking", None, "'grokking' needs train_loss and test_loss; this run has measured .*prefix_matching"),
    ],
)
def test_an_unknown_or_impossible_chart_says_what_there_is(
    run: dynamics.Run, name: str, metric: str | None, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        run.chart(name, metric)


def test_a_chart_displays_beyond_five_thousand_rows(tmp_path: Path) -> None:
    shared = {"series": "model", "stage": "", "version": 1, "task_hash": "t", "run_id": "r", "metric": "score"}
    with Store(tmp_path) as store:
        store.write(
            metrics=[metric_row("score", "layer,head")],
            measurements=[{**shared, "layer": head // 32, "head": head % 32, "step": step, "value": head + step / 80}
                          for head in range(90) for step in range(80)],
        )  # fmt: skip
    described = dynamics.Run(tmp_path).chart("head_trajectories").to_dict()
    assert max(len(rows) for rows in described["datasets"].values()) > 5000


def test_no_answer_of_a_run_changes_its_store(run: dynamics.Run) -> None:
    before = (run.folder / FILE_NAME).stat().st_mtime_ns
    run.chart("event_timeline")
    assert isinstance(run.measurements(), pl.DataFrame)
    assert read_tables(run.folder)
    assert (run.folder / FILE_NAME).stat().st_mtime_ns == before


def executed(cells: list[dict[str, Any]]) -> list[Any]:
    """What each cell shows: the value of its last line. All run in one namespace, in order.

    A kernel would bring twenty packages to say the same; what Jupyter asks of a value is asked of it below.
    """
    namespace: dict[str, Any] = {}
    shown = []
    for cell in cells:
        *lines, last = ast.parse("".join(cell["source"])).body
        assert isinstance(last, ast.Expr), "each cell of the example ends in something to see"
        exec(compile(ast.Module(lines, []), "cell", "exec"), namespace)
        shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), namespace))
    return shown


def test_the_example_notebook_runs_and_each_cell_shows_something(
    run: dynamics.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = run.folder.parents[1] / "docs"
    docs.mkdir()
    monkeypatch.chdir(docs)  # where Jupyter starts
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    for value in executed([cell for cell in cells if cell["cell_type"] == "code"]):
        assert value._repr_mimebundle_() if isinstance(value, alt.TopLevelMixin) else value._repr_html_()
        assert not isinstance(value, pl.DataFrame) or value.height


def test_the_example_notebook_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in cells)
