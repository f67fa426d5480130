"""Axes, labels and number formats."""

from __future__ import annotations

import itertools
import json
import math
import re

import altair as alt
import numpy as np
import polars as pl
import pytest
import vl_convert

from dashboards import theme


@pytest.mark.parametrize(
    ("constant", "last", "ticks"),
    [
        (1, 1000, [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]),
        (1, 143_000, [0, 1, 10, 100, 1000, 10_000, 100_000]),
        (100, 40_000, [0, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000]),
        (1, 0, [0]),
    ],
)
def test_step_ticks_begin_with_zero_and_go_by_powers_of_ten(constant: float, last: float, ticks: list[float]) -> None:
    assert theme.step_ticks(constant, last) == ticks


def test_labels_are_spread_apart_and_keep_their_order() -> None:
    draw = np.random.default_rng(0)
    for count in (1, 2, 7, 30):
        values = draw.uniform(0, 1, count).tolist()
        places = theme.spread(values, 0.05)
        order = np.argsort(values)
        gaps = [places[b] - places[a] for a, b in itertools.pairwise(order)]
        assert all(gap >= 0.05 - 1e-9 for gap in gaps)
    assert theme.spread([0.1, 0.9], 0.05) == [0.1, 0.9]


def test_numbers_for_prose() -> None:
    assert theme.number(math.nan) == "–"
    assert theme.interval(330.2, 480.4) == "330–480"
    assert theme.interval(512, 512) == "512"
    assert theme.probability(1e-9) == "<\u00a010⁻⁶"
    assert theme.probability(0.0123) == "=\u00a00.012"
    assert theme.probability(None) == "not given"


def test_both_backgrounds_define_the_same_styles() -> None:
    light, dark = theme.config(), theme.config(dark=True)
    assert light["style"].keys() == dark["style"].keys()
    assert len(light["range"]["category"]) == len(dark["range"]["category"])
    assert light["background"] == "#ffffff"


def test_text_in_a_vega_expression_stays_text() -> None:
    assert theme.literal("'); alert(1); ('") == "\"'); alert(1); ('\""


def labels_of(chart: alt.TopLevelMixin) -> list[str]:
    """The labels of a chart's first axis as they are drawn."""
    svg = vl_convert.vegalite_to_svg(json.dumps({**chart.to_dict(), "config": theme.config()}))
    return re.findall(r">([^<]+)</text>", svg.partition("role-axis-label")[2].partition("</g>")[0])


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 50_000, 100_000, 150_000, 200_000], ["0", "50k", "100k", "150k", "200k"]),
        ([0, 0.0002, 0.0004], ["0", "2×10⁻⁴", "4×10⁻⁴"]),
        ([1e-12, 1e-4, 1, 10_000], ["10⁻¹²", "10⁻⁴", "1", "10k"]),
        ([-0.5, 0, 0.5], ["−0.5", "0", "0.5"]),
        ([0, 2.5e10], ["0", "2.5×10¹⁰"]),
    ],
)
def test_labels_of_an_axis_are_short_and_no_two_are_alike(values: list[float], labels: list[str]) -> None:
    kind = "log" if min(values) > 0 else "linear"
    scale = alt.Scale(type=kind, domain=[min(values), max(values)])
    y = alt.Y("value:Q", scale=scale, axis=alt.Axis(values=values, labelExpr=theme.NUMBER_LABEL))
    rows = pl.DataFrame({"value": values}, schema={"value": pl.Float64})
    assert labels_of(alt.Chart(rows).mark_point().encode(y=y).properties(height=500)) == labels


def test_every_stated_step_is_labelled_where_a_band_lies_behind_the_curves() -> None:
    """Vega gives the axis of a layer that states none a count of ticks, and would thin out those of the others."""
    steps = [0, 1, 10, 100, 800]
    rows = pl.DataFrame({"step": [0.0, 800.0], "first": [10.0, 20.0], "last": [30.0, 40.0]})
    behind = alt.Chart(rows).mark_rect().encode(x=theme.step_place(steps, "first"), x2="last:Q")
    curve = alt.Chart(rows).mark_point().encode(x=theme.step_x(steps))
    chart = alt.layer(behind, curve).add_params(*theme.parameters(steps)).properties(width=345, height=100)
    assert labels_of(chart) == ["0", "1", "2", "5", "10", "20", "50", "100", "200", "500"]
