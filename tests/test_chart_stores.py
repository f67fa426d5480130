"""Stores made up for the chart and report tests: plausible curves with known events, and what can go wrong."""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dynamics.store import Store

STEPS = [0, 1, 2, 4, 8, 16, 32, 64, *range(100, 1001, 50)]
LAYERS, HEADS = {"two-layer": 2, "one-layer": 1}, 4
EMERGING = {(1, 0): 0.62, (1, 2): 0.48, (1, 3): 0.21}
FAILED_STEP = 650
PER_HEAD = ("prefix_matching", "previous_token_attention", "duplicate_token_attention")


def rise(step: float, middle: float, width: float = 0.25) -> float:
    """A logistic step in log time from 0 to 1, 10-90 % in `width` decades."""
    return 1 / (1 + math.exp(-(math.log10(step + 1) - math.log10(middle + 1)) * 4.394 / width))


def metric_row(
    metric: str, axes: str = "", unit: str = "nats", title: str = "", question: str = ""
) -> dict[str, Any]:
    return {
        "metric": metric,
        "version": 1,
        "unit": unit,
        "axes": axes,
        "title": title or metric.replace("_", " "),
        "question": question,
    }


def event_row(series: str, metric: str, middle: float, before: float, after: float, **more: Any) -> dict[str, Any]:
    return {
        "series": series, "metric": metric, "kind": "transition", "direction": "up" if after > before else "down",
        "onset": middle * 0.7, "midpoint": middle, "completion": middle * 1.5, "lower": middle * 0.88,
        "upper": middle * 1.14, "before": before, "after": after, "magnitude": abs(after - before),
        "sharpness": 0.25, "p_value": 2e-7, "q_value": 3e-6, "tentative": False, **more,
    }  # fmt: skip


def induction_rows(series: str, step: int, draw: np.random.Generator) -> list[dict[str, Any]]:
    """One checkpoint of the made-up induction run: three heads emerge in the second layer, none in the control."""
    two = series == "two-layer"
    jump = rise(step, 400) if two else 0.0
    rows: list[dict[str, Any]] = []
    for layer in range(LAYERS[series]):
        for head in range(HEADS):
            size = EMERGING.get((layer, head), 0.0)
            previous = 0.8 * rise(step, 250) if two and (layer, head) == (0, 1) else 0.06
            scores = (0.03 + size * rise(step, 380 + 30 * head) * two, previous, 0.05)
            rows += [
                {"metric": name, "layer": layer, "head": head, "value": max(0.0, score + draw.normal(0, 0.006)),
                 "stderr": 0.004, "n": 256, "task_hash": "aa11"}
                for name, score in zip(PER_HEAD, scores, strict=True)
            ]  # fmt: skip
    loss = 4.1 - 1.2 * rise(step, 90, 1.2) - 0.9 * jump
    rows.append(
        {
            "metric": "loss",
            "value": loss + draw.normal(0, 0.01),
            "stderr": 0.01,
            "n": 256,
            "task_hash": "bb22",
        }
    )
    rows.append({"metric": "in_context_learning_score", "value": -0.1 - 1.9 * jump + draw.normal(0, 0.02),
                 "stderr": 0.03, "n": 256, "task_hash": "bb22"})  # fmt: skip
    rows += [
        {"metric": "loss_by_position", "index": k, "value": loss + 0.3 - 0.5 * jump * math.log(k), "stderr": 0.02,
         "n": 256, "task_hash": "bb22"}
        for k in range(1, 64)
    ]  # fmt: skip
    return rows


def write_induction_run(folder: Path, *, events: bool = True, failed: bool = True) -> Path:
    """A two-layer model in which induction heads emerge near step 400, its control, and one broken checkpoint."""
    draw = np.random.default_rng(0)
    checkpoints, measurements = [], []
    for series in LAYERS:
        for step in STEPS:
            broken = failed and step == FAILED_STEP and series == "two-layer"
            sha = f"{series[:3]}{step:06d}" + "0" * 55
            checkpoints.append({
                "series": series, "stage": "", "step": step, "tokens_seen": step * 2048, "revision": f"step{step}",
                "weights_sha": None if broken else sha, "dtype": "float32", "bytes": 181760,
                "status": "failed" if broken else "measured",
                "note": "model.safetensors is truncated: 90,112 of 181,760 bytes" if broken else None,
            })  # fmt: skip
            rows = [] if broken else induction_rows(series, step, draw)
            measurements += [
                {
                    "series": series,
                    "stage": "",
                    "step": step,
                    "weights_sha": sha,
                    "version": 1,
                    "run_id": "r1",
                    **row,
                }
                for row in rows
            ]
    with Store(folder) as store:
        store.write(
            series=[
                {"series": name, "source": f"folder:checkpoints/{name}", "family": "attention-only", "seed": 0,
                 "n_layers": n, "n_heads": HEADS, "d_model": 64, "d_vocab": 64, "n_ctx": 64, "n_params": 45440 * n // 2}
                for name, n in LAYERS.items()
            ],
            checkpoints=checkpoints,
            metrics=[
                *(metric_row(name, "layer,head", "attention", question=f"Does the {name.replace('_', ' ')} rise?")
                  for name in PER_HEAD),
                metric_row("loss"), metric_row("in_context_learning_score"), metric_row("loss_by_position", "index"),
            ],
            tasks=[
                {"task": "repeated_tokens", "task_hash": "aa11", "seed": 0, "n_examples": 256,
                 "settings": json.dumps({"block": 25, "repeats": 4, "convention": "sum over targets"})},
                {"task": "text", "task_hash": "bb22", "seed": 0, "n_examples": 256,
                 "settings": json.dumps({"early_position": 10, "late_position": 60})},
            ],
            measurements=measurements,
            runs=[{
                "run_id": "r1", "started": datetime(2026, 1, 2, 3, 4), "finished": datetime(2026, 1, 2, 3, 5),
                "recipe": json.dumps({"title": "A small model learns to copy", "description": "Two layers and one."}),
                "versions": json.dumps({"torch": "2.9.0", "dynamics": "0.1.0"}), "device": "cpu", "dtype": "float32",
                "host": "example",
            }],
        )  # fmt: skip
        if events:
            store.write_events(pl.DataFrame(induction_events(), infer_schema_length=None))
    return folder


def induction_events() -> list[dict[str, Any]]:
    found = [
        event_row("two-layer", "prefix_matching", 380 + 30 * head, 0.03, 0.03 + size, layer=layer, head=head)
        for (layer, head), size in EMERGING.items()
    ]
    found.append(event_row("two-layer", "previous_token_attention", 250, 0.06, 0.86, layer=0, head=1))
    found.append(event_row("two-layer", "in_context_learning_score", 400, -0.1, -2.0))
    found.append(event_row("two-layer", "loss", 410, 2.9, 2.1, q_value=0.03, p_value=0.01, tentative=True))
    return found


def write_grokking_run(folder: Path) -> Path:
    """A modular-addition run: training loss falls at 700, test loss at 9000, weights are cleaned up after it."""
    steps = list(range(0, 20001, 500))
    rows: list[dict[str, Any]] = []
    for step in steps:
        late = rise(step, 9000, 0.12)
        form = rise(step, 4000, 0.6)
        curves = {
            "train_loss": 10 ** (0.68 - 7 * rise(step, 700, 0.3)),
            "test_loss": 10 ** (0.68 + 0.6 * rise(step, 600) - 5.5 * late),
            "train_accuracy": rise(step, 600), "test_accuracy": late,
            "excluded_loss": 4.7 - 4.6 * rise(step, 700) + 16 * form,
            "gini_embedding": 0.035 + 0.48 * form, "gini_output": 0.04 + 0.7 * form,
            "sum_of_squared_weights": 1783 + 1500 * rise(step, 700) - 1900 * late,
        }  # fmt: skip
        rows += [{"metric": name, "step": step, "value": value} for name, value in curves.items()]
        rows += [
            {
                "metric": "restricted_loss",
                "label": label,
                "step": step,
                "value": 10 ** (0.68 - 6 * form * factor),
            }
            for label, factor in (("all", 1.0), ("train", 1.02), ("test", 0.98))
        ]
        rows += [
            {
                "metric": "excluded_loss_by_frequency",
                "index": k,
                "step": step,
                "value": 0.01 + (3 * form if k in (14, 35, 41) else 0),
            }
            for k in range(1, 57)
        ]
        rows += [
            {"metric": "key_frequency", "index": k, "step": step, "value": float(k in (14, 35, 41))}
            for k in range(1, 57)
        ]
    axes = {"restricted_loss": "label", "excluded_loss_by_frequency": "index", "key_frequency": "index"}
    events = [
        event_row("addition", "train_loss", 700, 4.7, 1e-7),
        event_row("addition", "test_loss", 600, 4.7, 19.0),
        event_row("addition", "test_loss", 9000, 19.0, 4e-5, onset=7800, completion=10500, lower=8700, upper=9300),
        event_row("addition", "test_accuracy", 9100, 0.1, 1.0, lower=8800, upper=9400),
    ]
    shared = {
        "series": "addition",
        "stage": "",
        "weights_sha": "ff",
        "task_hash": "cc33",
        "version": 1,
        "run_id": "g1",
    }
    with Store(folder) as store:
        store.write(
            series=[{"series": "addition", "source": "folder:modular-addition", "family": "transformer"}],
            checkpoints=[
                {"series": "addition", "stage": "", "step": step, "status": "measured", "weights_sha": f"{step:064d}"}
                for step in steps
            ],
            metrics=[metric_row(name, axes.get(name, "")) for name in dict.fromkeys(row["metric"] for row in rows)],
            tasks=[{"task": "modular_addition", "task_hash": "cc33", "seed": 0, "n_examples": 12769,
                    "settings": json.dumps({"p": 113, "fraction": 0.3})}],
            measurements=[{**shared, "n": 12769, **row} for row in rows],
            runs=[{"run_id": "g1", "started": datetime(2026, 1, 2), "recipe": json.dumps({"title": "Grokking"})}],
        )  # fmt: skip
        store.write_events(pl.DataFrame(events, infer_schema_length=None))
    return folder


def test_the_made_up_runs_read_back(tmp_path: Path) -> None:
    with Store(write_induction_run(tmp_path / "a")) as store:
        assert store.query("SELECT count(*) FROM events").item() == len(induction_events())
    with Store(write_grokking_run(tmp_path / "b")) as store:
        assert store.query("SELECT count(DISTINCT metric) FROM measurements").item() == 11
