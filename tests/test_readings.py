"""From answers to rows: mean, standard error and count; axes, labels, and NaN as NULL."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dynamics.readings import to_frame
from dynamics.tasks import Task
from metrics.contract import Metric


def metric(*axes: str, **changes: Any) -> Metric:
    facts = {"name": "m", "function": lambda: None, "title": "", "unit": "", "task": "text", "axes": axes,
             "lower": None, "upper": None, "source": "", "version": 3, "per_example": True, "labels": (),
             "first_index": 0, "undefined": ""}  # fmt: skip
    return Metric(**(facts | changes))


def task(**settings: Any) -> Task:
    return Task("text", {"tokens": torch.zeros(4, 2)}, {}, **settings)


def test_mean_and_standard_error_over_examples_for_each_head() -> None:
    """Head 0 sees 1, 3 (mean 2, sd sqrt 2, error 1); head 1 sees 5, 5."""
    frame = to_frame(metric("layer", "head"), 7, torch.tensor([[1.0, 5.0], [3.0, 5.0]]), task())
    assert frame.select("layer", "head", "value", "stderr", "n", "version").rows() == [
        (7, 0, 2.0, pytest.approx(1.0), 2, 3), (7, 1, 5.0, 0.0, 2, 3),
    ]  # fmt: skip
    assert frame["index"].null_count() == frame["label"].null_count() == 2


def test_an_exhaustive_task_and_a_single_example_have_no_standard_error() -> None:
    for values, where in ((torch.tensor([1.0, 3.0]), task(exhaustive=True)), (torch.tensor([2.0]), task())):
        assert to_frame(metric(), None, values, where).select("value", "stderr").rows() == [(2.0, None)]


def test_exact_values_with_labels_and_an_index_that_starts_at_one() -> None:
    exact = metric("label", "index", per_example=False, labels=("all", "train"), first_index=1)
    frame = to_frame(exact, None, torch.tensor([[1.0, 2.0], [3.0, math.nan]]), task())
    assert frame.select("label", "index", "value", "n").rows() == [
        ("all", 1, 1.0, None), ("all", 2, 2.0, None), ("train", 1, 3.0, None), ("train", 2, None, None),
    ]  # fmt: skip


def test_a_mapping_brings_its_own_labels() -> None:
    values = {"W_E": torch.tensor(1.0), "W_U": torch.tensor(math.nan)}
    frame = to_frame(metric("label", per_example=False, task=None), None, values, None)
    assert frame.select("label", "value").rows() == [("W_E", 1.0), ("W_U", None)]
    assert not len(to_frame(metric("label", per_example=False, task=None), None, {}, None))


def test_half_precision_is_averaged_in_double() -> None:
    """1024 times 0.1 in bfloat16 would sum to far from 102.4."""
    values = torch.full((1024,), 0.1, dtype=torch.bfloat16)
    assert to_frame(metric(), None, values, task())["value"][0] == float(values[0])


@pytest.mark.parametrize("values", [torch.zeros(3), torch.zeros(3, 2, 2)])
def test_a_shape_that_the_metric_does_not_declare_is_refused(values: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"metric 'm' declares axes \('head',\).*returned shape \[3"):
        to_frame(metric("head"), None, values, task())
