"""Shapes of single tokens' losses over training: what each is called, at the edges of its definition and in frames."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from dynamics.curve_shapes import SHAPES, shape, shape_shares, shapes


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([10.0, 8.0, 6.0, 4.0], "falling"),
        ([10.0, 8.0, 8.6, 4.0], "falling"),  # a rise within the tolerance
        ([10.0, 9.9, 2.0, 2.1], "sharp"),
        ([10.0, 9.9, 8.1, 8.2], "falling"),  # one drop, but of less than 2 nats
        ([10.0, 9.0, 2.0, 2.1], "falling"),  # no plateau before it
        ([5.0, 3.0, 3.1, 6.0], "U-shaped"),
        ([4.9, 3.0, 3.1, 3.6], "falling"),  # it rises by less than the tolerance
        ([2.0, 2.5, 4.0], "rising"),
        ([2.0, 2.6, 2.1], "flat"),
        ([5.0, 7.0, 4.0], "irregular"),
        ([5.0, 3.0, 6.0, 3.0, 6.0], "irregular"),
        ([5.0, float("nan"), 3.0], None),
        ([5.0], None),
    ],
)
def test_each_shape_by_hand(curve: list[float], expected: str | None) -> None:
    assert shape(np.array(curve)) == expected
    assert expected is None or expected in SHAPES


def test_noise_within_the_tolerance_has_no_shape_but_flat() -> None:
    """The control: curves that only jitter are not called sharp, U-shaped or rising."""
    noise = np.random.default_rng(0).uniform(-0.34, 0.34, (200, 30))
    assert {shape(4 + row) for row in noise} == {"flat"}
    slope = np.linspace(8, 2, 30)
    assert {shape(slope + row) for row in noise / 2} == {"falling"}


def test_a_frames_curves_and_shares() -> None:
    curves = {0: [9.0, 9.0, 1.0], 1: [9.0, 6.0, 3.0], 2: [9.0, 5.0, 2.0], 3: [3.0, 1.0, 3.0], 4: [3.0, None, 3.0]}
    frame = pl.DataFrame([
        {"series": "a", "metric": "per_token_loss", "index": index, "step": step, "value": value}
        for index, values in curves.items() for step, value in zip((0, 10, 100), values, strict=True)
    ])  # fmt: skip
    found = shapes(frame.sample(fraction=1.0, shuffle=True, seed=1)).sort("index")
    assert found["shape"].to_list() == ["sharp", "falling", "falling", "U-shaped", None]
    shares = shape_shares(frame)
    assert shares["shape"].to_list() == list(SHAPES)
    assert shares["n"].to_list() == [1, 2, 1, 0, 0, 0]
    assert shares["share"].to_list() == [0.25, 0.5, 0.25, 0, 0, 0]
