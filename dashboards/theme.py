"""How everything looks: colours, the step axis, number formats.

Colours begin with those of Okabe and Ito. Every two of a set differ for colour-blind readers too, and each stands out
from its ground: tests/test_chart_theme.py holds them to it. Charts never name a colour: they use the scale ranges and
mark styles that the two configurations below define, so one specification serves both backgrounds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

# Altair's chart classes share no public type with `properties` and `to_dict`; whatever `alt.layer` returns is one.
Drawing = Any

COLOURS = 8  # that readers tell apart
FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"
WIDTH = 800  # of a whole figure in pixels; the page scales it to the window
HEIGHT = 260
ROOM, NEAR = 0.03, 0.1  # of the span of values: free at the ends of an axis; from zero, so that the axis begins there
STEP_LABEL = "datum.value < 1000 ? format(datum.value, '.3~g') : format(datum.value, '.3~s')"
# Thousands as on the step axis, and what is very small or large as 2×10⁻⁴: Vega's own formats round 1.5e+5 to 2e+5.
_POWER = "floor(log(abs(datum.value)) / LN10 + 1e-9)"
NUMBER_LABEL = (
    "datum.value === 0 || abs(datum.value) >= 1e-3 && abs(datum.value) < 1e4 ? format(datum.value, ',.6~g') : "
    "abs(datum.value) >= 1e4 && abs(datum.value) < 1e9 ? format(datum.value, '.4~s') : "
    f"(datum.value < 0 ? '−' : '') + replace(format(abs(datum.value) / pow(10, {_POWER}), '.2~f') + '×', /^1×/, '') + "
    f"'10' + ({_POWER} < 0 ? '⁻' : '') + (abs({_POWER}) >= 10 ? '¹' : '') + "
    f"['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][abs({_POWER}) % 10]"
)
P95 = "95\u00a0%"  # never broken between two lines
# Control characters, and those that turn the direction of whatever follows them.
_STEERING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

_LIGHT = {
    "ink": "#1f2328", "soft": "#59636e", "grid": "#e6e9ed", "quiet": "#8b949e", "band": "#0072b2", "ground": "#ffffff",
    "category": ["#0072b2", "#d9600a", "#0a9a74", "#7d1457", "#7a5200", "#3d99de", "#2f1c9e", "#1f2328"],
    "diverging": ["#7f3b08", "#e08214", "#fdd9a8", "#f7f7f7", "#c4bfe0", "#8073ac", "#2d004b"],
    "ramp": ["#f1f4f9", "#b9d3ea", "#6fa8d6", "#2b74b8", "#0b3c74"],
    "order": ["#7f9a1a", "#3f9a55", "#1a8a86", "#2c6a97", "#40408f", "#3b0f54"],
}  # fmt: skip
_DARK = {
    "ink": "#e6edf3", "soft": "#9aa5b1", "grid": "#2b323b", "quiet": "#667180", "band": "#6cb6ff", "ground": "#12161c",
    "category": ["#5aaef0", "#ff9a5c", "#009769", "#f577b3", "#f7dc3d", "#8adab6", "#8b6bf3", "#e6edf3"],
    "diverging": ["#fdb863", "#c8761c", "#6b4110", "#23282f", "#3f3872", "#8073ac", "#cbc3ec"],
    "ramp": ["#1c2430", "#1d4670", "#2f78b7", "#6fb1e6", "#d8ecff"],
    "order": ["#5b6fc4", "#3f8fc0", "#2fb3a4", "#66cf73", "#b9dc4c", "#fbe96a"],
}  # fmt: skip


def config(*, dark: bool = False) -> dict[str, Any]:
    """The Vega-Lite configuration of one background."""
    colour: dict[str, Any] = _DARK if dark else _LIGHT
    label = {
        "labelColor": colour["soft"],
        "titleColor": colour["soft"],
        "labelFontSize": 11,
        "titleFontSize": 11,
    }
    return {
        "font": FONT,
        "background": "transparent" if dark else "#ffffff",
        "view": {"stroke": None},
        "axis": {**label, "titleFontWeight": "normal", "gridColor": colour["grid"], "domainColor": colour["quiet"],
                 "tickColor": colour["quiet"], "labelOverlap": "greedy", "labelSeparation": 4, "titlePadding": 6},
        "axisYQuantitative": {"labelFlush": True},  # or titles of neighbouring panels would stand at different heights
        "legend": {**label, "titleFontWeight": "normal", "symbolStrokeWidth": 2.5, "labelLimit": 220},
        "header": {**label, "titleFontWeight": "normal"},
        "title": {"color": colour["ink"], "subtitleColor": colour["soft"], "fontSize": 12, "fontWeight": 600,
                  "anchor": "start", "limit": 370, "frame": "group"},
        "range": {"category": colour["category"], "diverging": colour["diverging"], "heatmap": colour["ramp"],
                  "ramp": colour["ramp"], "ordinal": {"scheme": colour["order"]}},
        "style": {
            "quiet": {"color": colour["quiet"]},
            "band": {"color": colour["band"]},
            "note": {"color": colour["soft"], "fontSize": 11},
            "strong": {"color": colour["ink"], "fontSize": 11},
            "halo": {"fill": colour["ground"], "stroke": colour["ground"], "strokeWidth": 3, "fontSize": 11},
            "missing": {"color": colour["category"][1]},
        },
    }  # fmt: skip


def step_ticks(constant: float, last: float) -> list[float]:
    """Ticks for a symlog axis: zero and the powers of ten, with 2 and 5 between them where there is room."""
    if last <= 0:
        return [0]
    low, high = math.floor(math.log10(max(constant, 1e-9))), math.ceil(math.log10(last))
    digits = (1, 2, 5) if high - low <= 3 else (1, 3) if high - low <= 4 else (1,)
    ticks = [digit * 10.0**power for power in range(low, high + 1) for digit in digits]
    return [0] + [tick for tick in ticks if constant <= tick <= last]


def step_scale(steps: Sequence[float]) -> dict[str, float]:
    """The constant and the ends of the step axis for these steps: linear up to the first positive one, then log."""
    positive = [float(step) for step in steps if step > 0]
    return {
        "constant": min(positive, default=1.0),
        "first": float(min(steps, default=0.0)),
        "last": max(positive, default=1.0),
    }


def step_place(steps: Sequence[float], field: str = "step", **more: Any) -> alt.X:
    """Where something is on the step axis, without drawing that axis: for what lies behind or beside a curve.

    The axis is logarithmic and shows step 0. `from_step` and `to_step` narrow it from outside.
    """
    scale = alt.Scale(
        type="symlog",
        constant=step_scale(steps)["constant"],
        nice=False,
        zero=False,
        # Not of the data: or each point that a hover adds would make the scale, and every mark, anew.
        domain=[alt.ExprRef("from_step"), alt.ExprRef("to_step")],
    )
    return alt.X(f"{field}:Q", scale=scale, **more)


def step_x(
    steps: Sequence[float], *, title: str | None = "training step", field: str = "step", labels: bool = True
) -> alt.X:
    """The step axis itself: `step_place` with its ticks. Without labels it is the upper one of aligned panels."""
    ends = step_scale(steps)
    ticks = step_ticks(ends["constant"], ends["last"])
    # The axes of all layers become one, and the count that Vega gives those that state none would thin these ticks out.
    axis = alt.Axis(values=ticks, tickCount=len(ticks), labelExpr=STEP_LABEL, grid=False, labels=labels)
    return step_place(steps, field, title=title, axis=axis)


def value_axis(domain: Sequence[float] | None = None) -> alt.Axis:
    """The axis of values; with a domain, a logarithmic one with whole powers of ten, at most seven of them."""
    if domain is None:
        return alt.Axis(labelExpr=NUMBER_LABEL)
    low, high = math.ceil(math.log10(domain[0])), math.floor(math.log10(domain[1]))
    every = max(1, -(-(high - low + 1) // 7))
    return alt.Axis(
        labelExpr=NUMBER_LABEL, values=[10.0**power for power in range(low, high + 1, every)] or alt.Undefined
    )


def value_scale(values: Iterable[float | None], *, log: bool = False, zero: bool = False, **more: Any) -> alt.Scale:
    """The scale of these values with its ends stated: see `step_place` for why they are not left to the data.

    A little room keeps lines off the edges, and an end that is near zero is zero; with `nice=False` there is none.

    >>> value_scale([0.2, None, 0.9]).to_dict()["domain"], value_scale([0.0, 0.0]).to_dict()["domain"]
    ([0.179, 0.921], [0.0, 1.03])
    """
    known = [value for value in values if value is not None and math.isfinite(value) and (value > 0 or not log)]
    low, high = min(known, default=0.1 if log else 0.0), max(known, default=1.0)
    low = min(low, 0.0) if zero else low
    if log:
        low, high = (low / 2, high * 2) if low == high else (low, high)
        return alt.Scale(type="log", domain=[low, high], **{"nice": True, **more})
    if low == high:  # a constant is as far from zero as it is
        low, high = min(low, 0.0), max(high, 0.0)
        high += low == high
    if more.get("nice", True):
        span = high - low
        low = 0.0 if 0 <= low <= NEAR * span else _rounded(low - ROOM * span)
        high = 0.0 if 0 <= -high <= NEAR * span else _rounded(high + ROOM * span)
    return alt.Scale(domain=[float(low), float(high)], **{**more, "nice": False})


def _rounded(end: float) -> float:
    return float(f"{end:.6g}")


# The curve that a reader has clicked on in the timeline; every chart shows it thicker.
CHOSEN = "datum.curve === chosen"


def thickness(usual: float, *, chosen: float = 4) -> alt.StrokeWidthValue:
    """The width of a curve, and its width where a reader has chosen it."""
    return alt.StrokeWidthValue(usual, condition={"test": CHOSEN, "value": chosen})


def parameters(steps: Sequence[float]) -> list[alt.Parameter]:
    """What the page sets in every chart: the ends of the step axis (a brush) and the chosen curve (a click)."""
    ends = step_scale(steps)
    return [
        alt.param(name="from_step", value=ends["first"]),
        alt.param(name="to_step", value=ends["last"]),
        alt.param(name="chosen", value=""),
    ]


def literal(value: object) -> str:
    """A value as a constant in a Vega expression: JSON is one, so text in it cannot become code."""
    return json.dumps(value, ensure_ascii=True)


def number(value: float | None, digits: int = 3) -> str:
    """A number for prose, to three significant digits.

    >>> [number(x) for x in (None, 0.0, 0.61234, 1234.5, -3.2e-7, 12345678.0)]
    ['–', '0', '0.612', '1,230', '−3.2×10⁻⁷', '1.23×10⁷']
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e6:
        rounded = round(value, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{rounded:,.10f}".rstrip("0").rstrip(".").replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    power = str(int(exponent)).translate(_SUPERSCRIPT)
    return (f"10{power}" if mantissa == "1" else f"{mantissa}×10{power}").replace("-", "−")


def step(value: float | None) -> str:
    """A training step for prose: whole, with thousands marked."""
    return "–" if value is None or not math.isfinite(value) else f"{round(value):,}"


def interval(lower: float | None, upper: float | None) -> str:
    """A range of steps, `330–480`."""
    return step(lower) if step(lower) == step(upper) else f"{step(lower)}–{step(upper)}"


def probability(value: float | None) -> str:
    """A p- or q-value with its relation sign, `= 0.012` or `< 10⁻⁶`."""
    if value is None or not math.isfinite(value):
        return "not given"
    return "<\u00a010⁻⁶" if value < 1e-6 else f"=\u00a0{number(value, 2)}"


def shorten(text: str, length: int = 60) -> str:
    """The text with its middle left out when it is longer than `length`, and without characters that steer others.

    >>> shorten("a\u202eb"), shorten("0123456789", 5)
    ('a\ufffdb', '01…89')
    """
    text = _STEERING.sub("\ufffd", text)
    if len(text) <= length:
        return text
    half = (length - 1) // 2
    return f"{text[: length - 1 - half]}…{text[-half:]}"


def plain(text: str) -> str:
    """All of the text, without characters that steer others."""
    return _STEERING.sub("\ufffd", text)


def spread(values: Sequence[float], gap: float, ends: tuple[float, float] = (-math.inf, math.inf)) -> list[float]:
    """Places for labels near these values and between the ends, at least `gap` apart, in the values' own order.

    >>> spread([0.50, 0.51, 0.9], 0.1)
    [0.455, 0.555, 0.9]
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    blocks: list[list[float]] = []  # each block: the values' sum shifted to its first label, count
    for place in (values[i] for i in order):
        blocks.append([place, 1.0])
        while len(blocks) > 1 and _start(blocks[-1], gap) < _end(blocks[-2], gap) + gap:
            centre, count = blocks.pop()
            before, n_before = blocks.pop()
            blocks.append([(before * n_before + centre * count) / (n_before + count), n_before + count])
    placed = [_start(block, gap) + gap * i for block in blocks for i in range(int(block[1]))]
    bottom, top = ends
    for i in range(len(placed)):
        placed[i] = max(placed[i], bottom + gap * i)
    for i in range(len(placed)):
        placed[-1 - i] = min(placed[-1 - i], top - gap * i)
    answer = [0.0] * len(values)
    for i, place in zip(order, placed, strict=True):
        answer[i] = round(place, 12)
    return answer


def _start(block: list[float], gap: float) -> float:
    return block[0] - gap * (block[1] - 1) / 2


def _end(block: list[float], gap: float) -> float:
    return block[0] + gap * (block[1] - 1) / 2
