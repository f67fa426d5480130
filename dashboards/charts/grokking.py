"""The progress measures of grokking on one aligned step axis, with the three phases shaded."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import polars as pl

from dashboards import models, theme
from dashboards.charts import chart
from dashboards.frames import Frames, thin
from dashboards.marks import failures, hover_points, tooltip
from dashboards.panels import Panel
from dashboards.phases import Phase, phases
from dashboards.theme import Drawing

# The restricted loss of the test pairs runs on that of all pairs: in dashes, both are seen.
BESIDE = alt.when("datum.measure === 'restricted, test pairs'").then(alt.value([5, 4])).otherwise(alt.value([1, 0]))
LINE = 13  # pixels between the names of two phases
TURN = 0.7  # of the step axis: names of phases that begin beyond it stand before it
FLOOR = 1e-12  # a loss of exactly 0 has no logarithm
# Each panel: y title, logarithmic or not, and the curves that belong in it where the store has them.
PANELS: tuple[tuple[str, bool, tuple[tuple[str, str | None, str], ...]], ...] = (
    ("loss (nats)", True, (("train_loss", None, "train"), ("test_loss", None, "test"))),
    ("progress measures (nats)", True, (
        ("restricted_loss", "all", "restricted, all pairs"), ("restricted_loss", "test", "restricted, test pairs"),
        ("excluded_loss", None, "excluded, train pairs"))),
    ("accuracy", False, (("train_accuracy", None, "train"), ("test_accuracy", None, "test"))),
    ("Gini coefficient", False, (("gini_embedding", None, "W_E"), ("gini_output", None, "W_L"))),
    ("sum of squared weights", False, (("sum_of_squared_weights", None, "all parameters"),)),
)  # fmt: skip


@chart("Grokking: progress measures and phases", needs=("train_loss", "test_loss"), order=8, also=(
    "train_accuracy", "test_accuracy", "restricted_loss", "excluded_loss", "gini_embedding", "gini_output",
    "sum_of_squared_weights"))  # fmt: skip
def grokking(frames: Frames) -> Drawing:
    """Panels below each other for each series: losses, restricted and excluded loss, accuracy, Gini, weights."""
    names = [name for name in frames.series_names() if (frames.curves("test_loss")["series"] == name).any()]
    found = [_series(frames, name, titled=len(names) > 1) for name in names]
    told = [
        sentence if len(names) == 1 else f"{name}: {sentence}" for name, (_, sentence) in zip(names, found, strict=True)
    ]
    description = (
        "Restricted loss keeps only the key frequencies of the logits and excluded loss removes them (Nanda et al. "
        "2023); Gini coefficients are of the Fourier norms of the embedding W_E and of W_L = W_U W_out. Click in a "
        f"legend to show a curve alone. {_key_frequencies(frames)}{' '.join(told)}"
    )
    drawing = alt.vconcat(*(panel for panels, _ in found for panel in panels), spacing=6)
    drawing = drawing.resolve_scale(color="independent").add_params(*theme.parameters(frames.steps()))
    return drawing.properties(description=description, usermeta={"width": theme.WIDTH, "columns": 1})


def _key_frequencies(frames: Frames) -> str:
    rows = frames.curves("key_frequency").filter(pl.col("value") > 0.5)
    keys = rows["index"].drop_nulls().unique().sort().to_list()
    if not keys:
        return ""
    rule = frames.title("key_frequency")
    return f"Key frequencies: {', '.join(str(key) for key in keys)}; by the rule of the metric {rule}. "


def _series(frames: Frames, series: str, *, titled: bool) -> tuple[list[Panel], str]:
    shaded, sentence = phases(frames, series)
    present = [(title, log, _rows(frames, series, curves)) for title, log, curves in PANELS]
    present = [panel for panel in present if panel[2].height]
    panels = []
    for number, (title, log, rows) in enumerate(present):
        place = {"first": number == 0, "last": number == len(present) - 1}
        name = f"near_{frames.series_names().index(series)}_{number}"
        heading = {"title": series} if titled and number == 0 else {}
        panels.append(_panel(frames, rows, shaded, {"y": title, "log": log, "name": name, **place, **heading}))
    return panels, sentence


def _rows(frames: Frames, series: str, curves: tuple[tuple[str, str | None, str], ...]) -> pl.DataFrame:
    parts = []
    for metric, label, name in curves:
        rows = frames.curves(metric).filter((pl.col("series") == series) & pl.col("index").is_null())
        chosen = rows.filter(pl.col("label").eq_missing(label)) if rows["label"].drop_nulls().len() else rows
        parts.append(chosen.with_columns(pl.lit(name).alias("measure")))
    return pl.concat(parts)


def _panel(frames: Frames, rows: pl.DataFrame, shaded: list[Phase], words: dict[str, Any]) -> Panel:
    value = pl.when(pl.col("value").is_not_null()).then(pl.max_horizontal("value", pl.lit(FLOOR)))
    rows = rows.with_columns(value) if words["log"] else rows
    frame = thin(rows, ("series", "measure", "place", "curve", "step", "value", "stderr", "n"))
    x = theme.step_x(frames.steps(), title="training step" if words["last"] else None, labels=words["last"])
    scale = theme.value_scale(frame["value"], log=words["log"], zero=not words["log"])
    axis = alt.Axis(labelExpr=theme.NUMBER_LABEL, tickCount=5)
    y = alt.Y("value:Q", title=words["y"], scale=scale, axis=axis)
    names = rows["measure"].unique(maintain_order=True).to_list()
    first = words["first"] and bool(shaded)  # the names of the phases stand between its legend and its plot
    offset = len(shaded) * LINE + 4 if first else 4
    legend = alt.Legend(title=None, orient="top", columns=3, offset=offset, symbolType="stroke", symbolOpacity=1)
    shown = models.toggle(f"shown_{words['name']}", "measure")
    colour = alt.Color("measure:N", scale=alt.Scale(domain=names), legend=legend)
    base = alt.Chart(frame).encode(x=x, y=y, color=colour)
    hints = tooltip(frame.drop("place"), words["y"])
    layers = [
        *_shading(shaded, frames.steps(), named=words["first"]),
        base.mark_line(clip=True).encode(
            detail=alt.Detail("curve:N"), strokeWidth=theme.thickness(2), opacity=models.strength(shown),
            strokeDash=BESIDE),
        *hover_points(base, words["name"], hints, shown),
        *failures(frames, rows["series"][0]),
    ]
    return Panel(layer=layers, width=theme.WIDTH, height=120, title=words.get("title", alt.Undefined))


def _shading(shaded: list[Phase], steps: list[int], *, named: bool) -> list[alt.Chart]:
    if not shaded:
        return []
    rows = [{"phase": phase.name, "first": phase.first, "last": phase.last} for phase in shaded]
    strength = alt.Opacity("phase:O", legend=None, scale=alt.Scale(
        domain=[phase.name for phase in shaded], range=[0.05, 0.14, 0.24]))  # fmt: skip
    base = alt.Chart(pl.DataFrame(rows)).encode(x=theme.step_place(steps, "first"))
    hints = [alt.Tooltip("phase:N"), alt.Tooltip("first:Q", title="from step", format=",.0f"),
             alt.Tooltip("last:Q", title="to step", format=",.0f")]  # fmt: skip
    layers = [base.mark_rect(style="band", clip=True).encode(x2=alt.X2("last:Q"), opacity=strength, tooltip=hints)]
    if named:
        layers += [mark for place, phase in enumerate(shaded) for mark in _name(base, phase, place, steps)]
    return layers


def _name(base: alt.Chart, phase: Phase, place: int, steps: list[int]) -> list[alt.Chart]:
    """The name of a phase above the plot, a line above the one before it: they are apart however narrow a phase is.

    One that begins near the right end stands to the left of where it begins.
    """
    late, up = _share(phase.first, theme.step_scale(steps)) > TURN, -LINE * place
    own = base.transform_filter(f"datum.phase === {theme.literal(phase.name)}")
    text = own.mark_text(style="note", align="right" if late else "left", baseline="bottom", dx=-4 if late else 4,
                         dy=-2, fontStyle="italic")  # fmt: skip
    pole = own.mark_rule(style="quiet").encode(y=alt.YValue(up - LINE), y2=alt.Y2Value(0))
    return [pole, text.encode(text=alt.Text("phase:N"), y=alt.YValue(up))]


def _share(step: float, ends: dict[str, float]) -> float:
    """How far along the step axis a step is."""
    return math.log1p(step / ends["constant"]) / (math.log1p(ends["last"] / ends["constant"]) or 1.0)
