"""The path that training takes through the space of losses, of single tokens or by position, in its widest plane."""

from __future__ import annotations

import math

import altair as alt
import numpy as np
import polars as pl

from dashboards import models, theme
from dashboards.charts import chart
from dashboards.frames import Frames, thin
from dashboards.theme import Drawing

METRIC = "loss_by_position"
SINGLE = "per_token_loss"  # preferred where it was measured: the vector of Olsson et al. 2022
FEWEST = 4  # checkpoints of one series: three points always lie in a plane
MAX_LABELS = 8
GAP = 0.12  # of the diagonal between two step labels


@chart("The path of training in the plane of its losses", needs=(METRIC,), also=(SINGLE,), order=33)
def per_token_trajectory(frames: Frames) -> Drawing:
    """One line a series through its checkpoints, in the first two principal components of all of them together."""
    metric = SINGLE if SINGLE in frames.names() else METRIC
    vectors = _vectors(frames, metric)
    if vectors.height < FEWEST or (n_losses := len(vectors["value"][0])) < 2:
        return None
    placed, shares = _plane(vectors)
    held = [f"{theme.number(100 * share)}\u00a0%" for share in shares]
    description = (
        "Each point is a checkpoint: the nearer two of them, the more alike are their losses, and where the path bends "
        f"training goes on to something else. A checkpoint is the vector of its {_what(metric, n_losses)}, shown in "
        "the first two principal components of all checkpoints of all series together. They hold "
        f"{held[0]} and {held[1]} of the variance; distances beyond these two are not seen. The first component is "
        "turned so that training goes to the right, the second so that its largest excursion is upwards. Numbers along "
        "a path are steps. Checkpoints that lack one of these losses are left out."
    )
    names = [name for name in models.order(frames) if (placed["series"] == name).any()]
    description += " Click in the legend to show one series alone." * (len(names) > 1)
    colour, shown = models.colour(names), models.toggle("shown_path")
    axis = alt.Axis(grid=False, tickCount=6, labelExpr=theme.NUMBER_LABEL)
    across = alt.X("first:Q", title=f"first component ({held[0]} of the variance)", axis=axis,
                   scale=alt.Scale(zero=False, padding=18))  # fmt: skip
    up = alt.Y(
        "second:Q",
        title=f"second component ({held[1]})",
        axis=axis,
        scale=alt.Scale(zero=False, padding=18),
    )
    base = alt.Chart(thin(placed, ("series", "step", "first", "second"))).encode(x=across, y=up, color=colour)
    hints = [alt.Tooltip("series:N"), alt.Tooltip("step:Q", format=","),
             alt.Tooltip("first:Q", title="first component", format=".3~g"),
             alt.Tooltip("second:Q", title="second component", format=".3~g")]  # fmt: skip
    labelled = alt.Chart(thin(_labelled(placed), ("series", "step", "first", "second", "said")))
    strength = models.strength(shown)
    words = labelled.encode(x=across, y=up, text=alt.Text("said:N"), opacity=strength)
    # Twice: below the letters a rim in the colour of the ground, so that no path runs through them.
    text = [words.mark_text(style=style, align="left", dx=7, dy=-6) for style in ("halo", "strong")]
    marks = labelled.mark_point(filled=True, size=60).encode(x=across, y=up, color=colour, opacity=strength)
    path = base.mark_line().encode(order=alt.Order("step:Q"), opacity=strength)
    points = base.mark_circle(size=22).encode(tooltip=hints, opacity=strength).add_params(shown)
    drawing = alt.layer(path, points, marks, *text)
    return drawing.properties(
        width=theme.WIDTH, height=380, description=description, usermeta={"width": theme.WIDTH, "columns": 1}
    )


def _what(metric: str, n: int) -> str:
    return f"losses of {n:,} single tokens" if metric == SINGLE else f"mean losses at {n:,} positions of the context"


def _vectors(frames: Frames, metric: str) -> pl.DataFrame:
    """The losses of each checkpoint as a list; those with a hole and series of few checkpoints are left out."""
    rows = frames.curves(metric).filter(pl.col("value").is_not_null() & pl.col("index").is_not_null())
    shared = rows.group_by("index").agg(pl.col("series").n_unique().alias("n"))
    kept = shared.filter(pl.col("n") == pl.col("n").max())["index"]
    single = rows.filter(pl.col("index").is_in(kept.to_list())).group_by("series", "step", "index").agg(
        pl.col("value").mean()
    )  # fmt: skip
    whole = single.sort("series", "step", "index").group_by("series", "step", maintain_order=True).agg("value")
    return whole.filter(pl.col("value").list.len() == len(kept)).filter(pl.len().over("series") >= FEWEST)


def _plane(vectors: pl.DataFrame) -> tuple[pl.DataFrame, tuple[float, float]]:
    """Where each checkpoint lies in the plane, and the share of the variance that each component holds."""
    values = np.array(vectors["value"].to_list())
    left, sizes, _ = np.linalg.svd(values - values.mean(0), full_matrices=False)
    first, second = left[:, 0] * sizes[0], left[:, 1] * sizes[1]
    steps = vectors["step"].to_numpy()
    # A component's sign is arbitrary: fixed here, or the picture would flip from machine to machine.
    early, late = first[steps == steps.min()].mean(), first[steps == steps.max()].mean()
    first = first if late >= early else -first
    second = second if second[np.abs(second).argmax()] >= 0 else -second
    total = float(np.sum(sizes**2)) or 1.0
    placed = vectors.select("series", "step").with_columns(pl.Series("first", first), pl.Series("second", second))
    return placed, (float(sizes[0] ** 2 / total), float(sizes[1] ** 2 / total))


def _labelled(placed: pl.DataFrame) -> pl.DataFrame:
    """The checkpoints whose step is written: the last of each series, then those that stand clear of the others."""
    wide = float(placed["first"].max() - placed["first"].min()) or 1.0  # pyright: ignore[reportOperatorIssue, reportArgumentType, reportOptionalOperand]
    high = float(placed["second"].max() - placed["second"].min()) or 1.0  # pyright: ignore[reportOperatorIssue, reportArgumentType, reportOptionalOperand]
    chosen: list[dict[str, object]] = []
    taken: list[tuple[float, float]] = []
    for part in placed.partition_by("series", maintain_order=True):
        rows, count = part.to_dicts(), 0
        for row in (rows[-1], *rows[:-1]):
            spot = (row["first"] / wide, row["second"] / high)
            if count < MAX_LABELS and all(math.dist(spot, other) > GAP for other in taken):
                chosen.append({**row, "said": theme.step(row["step"])})
                taken.append(spot)
                count += 1
    return pl.DataFrame(chosen)
