"""Shapes of single tokens' losses over training: what each is called, at the edges of its definition and in frames."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.optimize

from dynamics.curve_shapes import SHAPES, _falling, shape, shape_shares, shapes


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([10.0, 8.0, 6.0, 4.0], "falling"),
        ([10.0, 8.0, 8.6, 4.0], "sharp"),  # 4.3 of 6 in one step, once the rise is pooled
        ([10.0, 9.9, 2.0, 2.1], "sharp"),
        ([10.0, 9.9, 8.1, 8.2], "falling"),  # one drop, but of less than 2 nats
        ([10.0, 8.0, 6.0, 3.5, 2.0], "falling"),  # 2.5 of 8 in one step
        ([5.0, 3.0, 3.1, 6.0], "U-shaped"),
        ([4.9, 3.0, 3.1, 3.6], "falling"),  # it rises by less than the tolerance
        ([2.0, 2.5, 4.0], "rising"),
        ([2.0, 2.6, 2.1], "flat"),
        ([5.0, 3.0, 6.0, 3.0, 6.0], "irregular"),
        ([5.0, float("nan"), 3.0], None),
        ([5.0], None),
    ],
)
def test_each_shape_by_hand(curve: list[float], expected: str | None) -> None:
    assert shape(np.array(curve)) == expected
    assert expected is None or expected in SHAPES


def test_the_fit_is_scipys_isotonic_regression() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        values = random.normal(size=random.integers(2, 30)).cumsum()
        fit = _falling(values)
        expected = scipy.optimize.isotonic_regression(values, increasing=False).x
        assert fit.errors[-1] == pytest.approx(((values - expected) ** 2).sum(), abs=1e-9)
        assert fit.fall == pytest.approx(expected[0] - expected[-1])
        assert fit.step == pytest.approx(-np.diff(expected).min())
        assert fit.errors[len(values) // 2] == pytest.approx(_falling(values[: len(values) // 2 + 1]).errors[-1])


def test_shapes_are_known_under_noise() -> None:
    random, at = np.random.default_rng(0), np.linspace(-1, 1, 40)
    truth = {"falling": 5 - 3 * at, "rising": 5 + 3 * at, "U-shaped": 2 + 5 * at**2, "sharp": np.where(at < 0.2, 7, 2)}
    for name, curve in truth.items():
        found = [shape(curve + random.normal(scale=0.4, size=40)) for _ in range(100)]
        assert found.count(name) >= 95, name


def test_noise_alone_is_never_called_sharp_or_falling() -> None:
    """The control."""
    random = np.random.default_rng(0)
    assert {shape(row) for row in 4 + random.uniform(-0.3, 0.3, (200, 30))} == {"flat"}
    loud = [shape(row) for row in 4 + random.normal(scale=2, size=(200, 30))]
    assert loud.count("irregular") >= 195


def test_a_frames_curves_and_shares() -> None:
    curves = {
        0: [9.0, 9, 9, 1, 1], 1: [9.0, 8, 6, 4, 3], 2: [9.0, 7, 5, 3, 2], 3: [3.0, 2, 1, 2, 3], 4: [3.0, None, 3, 3, 3],
    }  # fmt: skip
    frame = pl.DataFrame([
        {"series": "a", "metric": "per_token_loss", "index": index, "step": step, "value": value}
        for index, values in curves.items() for step, value in zip((0, 1, 10, 100, 1000), values, strict=True)
    ])  # fmt: skip
    found = shapes(frame.sample(fraction=1.0, shuffle=True, seed=1)).sort("index")
    assert found["shape"].to_list() == ["sharp", "falling", "falling", "U-shaped", None]
    shares = shape_shares(shapes(frame))
    assert shares["shape"].to_list() == list(SHAPES)
    assert shares["n"].to_list() == [1, 2, 1, 0, 0, 0]
    assert shares["share"].to_list() == [0.25, 0.5, 0.25, 0, 0, 0]
