"""Axes, labels and number formats."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

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
