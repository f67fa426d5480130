"""Metrics of other metrics' numbers, such as how many heads score above a threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dynamics.forward import Answer
from metrics import METRICS, Metric

Answers = Mapping[tuple[str, int | None], Answer]


def with_origins(metrics: Sequence[Metric]) -> list[Metric]:
    """The metrics that have to be measured: those asked for, and those that derived ones are made of."""
    names = {name for metric in metrics for name in metric.derived_from}
    direct = [metric for metric in metrics if not metric.derived_from]
    return direct + [METRICS[name] for name in sorted(names - {metric.name for metric in direct})]


def derive(metrics: Sequence[Metric], measured: Answers) -> dict[tuple[str, int | None], Answer]:
    """The answers of the metrics that were asked for, derived ones among them, and no others."""
    asked = {metric.name for metric in metrics}
    answers = {key: answer for key, answer in measured.items() if key[0] in asked}
    for metric in metrics:
        if metric.derived_from:
            given = {name: _whole(name, measured) for name in metric.reads}
            answers[metric.name, None] = metric.function(**given)
    return answers


def _whole(name: str, measured: Answers) -> Tensor:
    """A metric's answer for each example, [batch ...], with the layers of one that came layer by layer together."""
    by_layer = {layer: answer for (metric, layer), answer in measured.items() if metric == name}
    tensors = [by_layer[layer] for layer in sorted(by_layer, key=lambda layer: -1 if layer is None else layer)]
    assert all(isinstance(tensor, Tensor) for tensor in tensors)
    return tensors[0] if None in by_layer else torch.stack(tensors, 1)  # pyright: ignore[reportArgumentType, reportReturnType]
