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


# Machado, Oliveira and Fernandes 2009, at full severity: linear red, green and blue as the reader sees them.
BLIND = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "everyone": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
}
TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))


def linear(colour: str) -> np.ndarray:
    shares = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def lab(colour: str, reader: str) -> np.ndarray:
    seen = np.clip(np.array(BLIND[reader]) @ linear(colour), 0, 1)
    x, y, z = np.cbrt(np.array(TO_XYZ) @ seen / (0.95047, 1, 1.08883) + 1e-9)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, two: str) -> float:
    """As in WCAG 2.1."""
    dark, light = sorted(float(np.array(TO_XYZ[1]) @ linear(colour)) for colour in (one, two))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("reader", BLIND)
@pytest.mark.parametrize("dark", [False, True])
def test_every_two_colours_differ_whoever_reads(reader: str, dark: bool) -> None:
    colours = theme.config(dark=dark)["range"]["category"]
    assert len(set(colours)) == len(colours) == theme.COLOURS
    apart = {(one, two): float(np.linalg.norm(lab(one, reader) - lab(two, reader)))
             for one, two in itertools.combinations(colours, 2)}  # fmt: skip
    assert min(apart.values()) > 12, min(apart, key=lambda pair: apart[pair])  # about 2 is the least that is seen


@pytest.mark.parametrize("dark", [False, True])
def test_lines_and_letters_stand_out_from_their_ground(dark: bool) -> None:
    config, ground = theme.config(dark=dark), "#12161c" if dark else "#ffffff"
    assert config["style"]["halo"]["fill"] == ground
    drawn = [*config["range"]["category"], *config["range"]["ordinal"]["scheme"], config["style"]["quiet"]["color"],
             config["style"]["band"]["color"], config["style"]["missing"]["color"]]  # fmt: skip
    assert {colour: contrast(colour, ground) for colour in drawn if contrast(colour, ground) < 3} == {}
    letters = [config["axis"]["labelColor"], config["title"]["color"], config["style"]["note"]["color"]]
    assert all(contrast(colour, ground) >= 4.5 for colour in letters)


@pytest.mark.parametrize(("value", "domain"), [(0.0, [0, 1.03]), (5.0, [0, 5.15]), (-2.0, [-2.06, 0])])
def test_a_curve_that_never_moves_has_an_axis_from_zero(value: float, domain: list[float]) -> None:
    assert theme.value_scale([value, value]).to_dict()["domain"] == pytest.approx(domain)


def test_an_axis_of_values_leaves_room_beyond_the_lines_and_begins_at_a_near_zero() -> None:
    assert theme.value_scale([0.01, 1.0]).to_dict()["domain"] == pytest.approx([0, 1.0297])
    low, high = theme.value_scale([4.0, 5.0]).to_dict()["domain"]
    assert low < 4
    assert high > 5
    assert theme.value_scale([4.0, 5.0], nice=False).to_dict()["domain"] == [4, 5]
