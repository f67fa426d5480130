"""From a metric's answer to rows of the store: mean, standard error and count over examples, or the exact value."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import polars as pl
import torch
from torch import Tensor

from dynamics.tasks import Task
from metrics.contract import Metric


def to_frame(
    metric: Metric, layer: int | None, values: Tensor | Mapping[str, Tensor], task: Task | None
) -> pl.DataFrame:
    """The rows of one answer, with the columns `metric version layer head index label value stderr n`.

    `values` is [n_examples ...axes] for a metric with a value per example, else [...axes]; the layer of a metric that
    is called once a layer comes apart. A mapping brings its own labels. Raises `ValueError` when the shape is not
    what the metric declares.
    """
    axes, labels = metric.axes[1:] if layer is not None else metric.axes, metric.labels
    if isinstance(values, Mapping):
        labels = tuple(values)
        values = torch.stack(list(values.values())) if values else torch.empty(0)
    mean, stderr, n = _over_examples(metric, values, task)
    if mean.ndim != len(axes) or ("label" in axes and mean.shape[axes.index("label")] != len(labels)):
        msg = f"metric {metric.name!r} declares axes {axes} with labels {labels}, but returned shape " \
              f"{list(values.shape)}"  # fmt: skip
        raise ValueError(msg)
    places = dict(zip(axes, (axis.ravel() for axis in np.indices(mean.shape)), strict=True))
    count = mean.numel()
    frame = pl.DataFrame({
        "value": mean.flatten().numpy(),
        "stderr": stderr.flatten().numpy() if stderr is not None else [None] * count,
    }, schema={"value": pl.Float64, "stderr": pl.Float64}, nan_to_null=True)  # fmt: skip
    label = np.array(labels)[places["label"]].tolist() if "label" in places else None
    return frame.with_columns(
        metric=pl.lit(metric.name),
        version=pl.lit(metric.version),
        layer=_integers(places["layer"], count) if "layer" in places else pl.lit(layer, pl.Int64),
        head=_integers(places.get("head"), count),
        index=_integers(places["index"] + metric.first_index if "index" in places else None, count),
        label=pl.Series(label) if label else pl.lit(None, pl.String),
        n=pl.lit(n, pl.Int64),
    )


def _over_examples(metric: Metric, values: Tensor, task: Task | None) -> tuple[Tensor, Tensor | None, int | None]:
    values = values.detach().to("cpu", torch.float64)
    if not metric.per_example:
        return values, None, None
    n = values.shape[0]
    mean = values.mean(0)
    if n < 2 or (task is not None and task.exhaustive):
        return mean, None, n
    return mean, values.std(0) / math.sqrt(n), n


def _integers(values: np.ndarray | None, count: int) -> pl.Series:
    return pl.Series([None] * count if values is None else values, dtype=pl.Int64)
