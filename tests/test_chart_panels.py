"""Panels beside each other: their layers are never copied, their selections stay, a figure can be given more."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from dashboards.panels import Panel, grid, stack

ROWS = pl.DataFrame({"step": [0, 1], "value": [0.0, 1.0]})


def panel(number: int) -> Panel:
    near = alt.selection_point(name=f"near_{number}", fields=["step"])
    line = alt.Chart(ROWS).mark_line().encode(x=alt.X("step:Q"), y=alt.Y("value:Q"))
    return Panel(layer=[line, line.mark_point().add_params(near)], width=100, height=50, title=f"panel {number}")


def names(view: dict[str, Any]) -> list[str]:
    return [parameter["name"] for parameter in view.get("params", [])]


def test_layers_are_those_that_were_drawn_however_often_a_figure_is_put_together() -> None:
    first, second = panel(0), panel(1)
    figure = grid([first, second], 2).resolve_scale(color="independent").add_params(alt.param("end", value=1))
    figure = alt.vconcat(figure.properties(description="two"), panel(2))
    assert figure.vconcat[0].concat[1].layer[1] is second.layer[1]
    assert figure.vconcat[0].concat[0].layer[1] is first.layer[1]


def test_a_selection_stays_in_its_layer_and_a_parameter_is_the_figures() -> None:
    spec = stack([panel(0), panel(1)], spacing=5).add_params(alt.param("end", value=1)).to_dict()
    assert names(spec) == ["end"]
    assert [[names(layer) for layer in one["layer"]] for one in spec["vconcat"]] == [[[], ["near_0"]], [[], ["near_1"]]]
    assert len(spec["datasets"]) == 1, "one data set serves all layers"


def test_a_figure_can_be_given_more_and_its_panels_stay_as_they_were() -> None:
    figure = grid([panel(0), panel(1)], 2)
    before = figure.to_dict()
    spec = figure.add_params(alt.selection_interval(name="zoom", bind="scales"), alt.param("end", value=1)).to_dict()
    assert names(spec) == ["end"]
    assert [[names(layer) for layer in one["layer"]] for one in spec["concat"]] == [
        [["zoom"], ["near_0"]], [["zoom"], ["near_1"]]]  # fmt: skip
    assert figure.to_dict() == before


def test_a_single_panel_stands_alone_with_its_size_and_title() -> None:
    for figure in (grid([panel(0)], 2), stack([panel(0)], spacing=5)):
        spec = figure.to_dict()
        assert (spec["width"], spec["height"], spec["title"]) == (100, 50, "panel 0")
        assert names(spec) == ["near_0"]
        assert len(spec["layer"]) == 2
