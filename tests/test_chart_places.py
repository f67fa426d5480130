"""What a curve is called, which curves have a colour and a name, and in which order they and the series stand."""

from __future__ import annotations

from typing import Any

import pytest

from dashboards import models, naming, theme
from dashboards.charts import draw_chart
from dashboards.frames import Frames, prepare
from test_chart_frames import tables
from test_chart_geometry import frames
from test_chart_stores import event_row, metric_row

STEPS = [0, 1, 10, 100]


def made(metric: str, axes: str, rows: list[dict[str, Any]], *events: dict[str, Any],
         **about: str) -> Frames:  # fmt: skip
    drawn = frames(metric, rows, axes)
    return prepare(tables(drawn.measurements.drop("place", "curve").to_dicts(), drawn.checkpoints.to_dicts(),
                          metrics=[{**metric_row(metric, axes), **about}], events=list(events)))  # fmt: skip


def along_index(metric: str, moving: int, places: int, **about: str) -> Frames:
    """A metric along an index of which the last places move."""
    rows = [{"index": k, "step": step, "value": float(step) * (k >= places - moving)}
            for k in range(places) for step in STEPS]  # fmt: skip
    return made(metric, "index", rows, **about)


def named_in(drawn: Frames, chart: str, metric: str) -> list[str]:
    """The places that have a colour, in the order of the colours."""
    layers = draw_chart(drawn, chart, metric).specification()["layer"]
    return next(layer["encoding"]["color"]["scale"]["domain"] for layer in layers
                if layer.get("encoding", {}).get("color", {}).get("field") == "place")  # fmt: skip


@pytest.mark.parametrize(("metric", "about", "said"), [
    ("neurons_of_frequency", {}, "frequency 5"),
    ("cosine_coefficient", {"title": "Cosine", "question": "How high is each frequency's wave?"}, "frequency 5"),
    ("loss_of_subtask", {}, "subtask 5"),
    ("something", {}, "index 5"),
])  # fmt: skip
def test_a_place_along_an_index_is_called_what_its_metric_says(metric: str, about: dict[str, str], said: str) -> None:
    drawn = along_index(metric, 6, 6, **about)
    assert said in drawn.measurements["place"].to_list()
    figure = draw_chart(drawn, "curve_trajectories", metric).specification()
    assert f"One line {'an' if said[0] in 'aeiou' else 'a'} {said.split(maxsplit=1)[0]}." in figure["description"]


def test_a_curve_that_never_moves_is_not_named() -> None:
    assert named_in(along_index("x_of_frequency", 2, 6), "curve_trajectories", "x_of_frequency") == [
        "frequency 4", "frequency 5"]  # fmt: skip


def labelled(events: list[dict[str, Any]]) -> Frames:
    labels = [f"subtask {k}" for k in range(12)]
    rows = [{"label": label, "step": step, "value": float(step)} for label in labels for step in STEPS]
    return made("subtask_loss", "label", rows, *events)


def test_eight_curves_have_eight_colours_in_the_order_in_which_people_count() -> None:
    places = [11, 10, 2, 1, 7, 6, 5, 4]
    events = [event_row("model", "subtask_loss", 10, 0.1, 90 - k, label=f"subtask {place}")
              for k, place in enumerate(places)]  # fmt: skip
    coloured = named_in(labelled(events), "curve_trajectories", "subtask_loss")
    assert coloured == [f"subtask {place}" for place in sorted(places)]
    assert len(coloured) == len(set(theme.config()["range"]["category"]))


def test_seeds_of_a_model_stand_in_order_and_its_control_behind_them() -> None:
    names = ["model-seed10", "model-seed2", "control", "model-seed0"]
    rows = [{"series": name, "stage": "", "version": 1, "task_hash": "t", "run_id": "r", "metric": "loss", "step": step,
             "value": float(step)} for name in names for step in STEPS]  # fmt: skip
    points = [{"series": name, "stage": "", "step": step, "status": "measured"} for name in names for step in STEPS]
    events = [event_row("model-seed10", "loss", 10, 0.0, 100.0)]
    drawn = prepare(tables(rows, points, metrics=[metric_row("loss")], events=events))
    assert drawn.series_names() == ["model-seed0", "model-seed2", "model-seed10", "control"]


def test_panels_side_by_side_say_their_unit() -> None:
    drawn = made("loss", "", [{"step": step, "value": float(step)} for step in STEPS])
    spec = draw_chart(drawn, "models_by_step", "loss").specification()
    titles = {layer["encoding"]["y"]["title"] for layer in spec["layer"] if "title" in layer["encoding"].get("y", {})}
    assert titles == {"nats"}
    assert "Click in the legend" not in spec["description"]  # a single model has none


def test_grids_of_one_series_stand_beside_each_other_and_those_of_several_in_rows_of_a_metric() -> None:
    def grids(names: list[str]) -> dict[str, Any]:
        shared = {"stage": "", "version": 1, "task_hash": "t", "run_id": "r"}
        rows = [{**shared, "series": name, "metric": metric, "layer": layer, "head": head, "step": step,
                 "value": float(step)}
                for name in names for metric in ("one", "two") for layer in (0, 1) for head in (0, 1)
                for step in STEPS]  # fmt: skip
        points = [{"series": name, "stage": "", "step": step, "status": "measured"} for name in names for step in STEPS]
        events = [event_row(names[0], metric, 10, 0.0, 90.0, layer=0, head=0) for metric in ("one", "two")]
        metrics = [metric_row(metric, "layer,head") for metric in ("one", "two")]
        return draw_chart(prepare(tables(rows, points, metrics=metrics, events=events)), "head_grid").specification()

    assert grids(["a"])["columns"] == 2
    several = grids(["a", "b", "c"])
    assert (several["columns"], len(several["concat"])) == (3, 6)


def test_a_legend_states_its_columns_so_that_a_phone_can_have_fewer() -> None:
    assert models.colour(["a", "b", "c"]).to_dict()["legend"]["columns"] == 3
    assert models.colour([str(k) for k in range(16)]).to_dict()["legend"]["columns"] == models.COLUMNS


def test_a_title_is_broken_between_words_only_so_that_the_page_can_join_it_again() -> None:
    title = "Duplicate-token attention, two-layer"
    assert len(lines := naming.lines(title, 200)) == 2
    assert " ".join(lines) == title
