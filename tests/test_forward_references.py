"""Sites of the first and the last checkpoint reach the metrics that read them, and are part of their inputs' hash."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from safetensors.torch import load_file

import dynamics
from dynamics.errors import CheckpointError
from metrics import METRICS

CHOSEN = ["distance_from_first", "distance_to_final", "cosine_to_final", "weight_norm", "stable_rank"]


def curve(frame: pl.DataFrame, metric: str, label: str) -> list[float | None]:
    rows = frame.filter(pl.col("metric") == metric, pl.col("label") == label).sort("step")
    return rows["value"].to_list()


def test_distances_are_those_of_the_files(tiny_series: Path, tmp_path: Path) -> None:
    run = dynamics.measure(dynamics.open_series(f"folder:{tiny_series}"), CHOSEN, out=tmp_path / "run")
    frame = run.measurements()
    name = "blocks.1.attn.W_Q"
    files = [tiny_series / f"step{step}" / "model.safetensors" for step in (0, 10, 100, 1000)]
    tensors = [load_file(file)[name].double() for file in files]
    first, last = tensors[0], tensors[-1]
    expected = [float((t - first).norm() / first.norm()) for t in tensors]
    assert curve(frame, "distance_from_first", name) == pytest.approx(expected)
    expected = [float((t - last).norm() / last.norm()) for t in tensors]
    assert curve(frame, "distance_to_final", name) == pytest.approx(expected)
    assert curve(frame, "cosine_to_final", name)[-1] == pytest.approx(1)
    assert curve(frame, "weight_norm", name) == pytest.approx([float(t.norm()) for t in tensors])
    labels = set(frame.filter(pl.col("metric") == "stable_rank")["label"])
    assert {"embed.W_E", f"{name}.0", f"{name}.1"} <= labels


def test_another_first_checkpoint_is_another_input(tiny_series: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    names = ["distance_from_first", "weight_norm"]
    dynamics.measure(dynamics.open_series(f"folder:{tiny_series}"), names, out=out)
    shorter = dynamics.open_series(f"folder:{tiny_series}", steps="10,100,1000")
    seen: list[str] = []
    run = dynamics.measure(shorter, names, out=out, watch=lambda progress: seen.append(progress.status))
    assert seen == ["measured"] * 3
    assert curve(run.measurements(), "distance_from_first", "embed.W_E")[-3] == 0
    seen.clear()
    dynamics.measure(shorter, names, out=out, watch=lambda progress: seen.append(progress.status))
    assert seen == ["stored"] * 3


def test_a_first_checkpoint_that_cannot_be_read_is_named(tiny_series: Path, tmp_path: Path) -> None:
    (tiny_series / "step0" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match=r"the first checkpoint, .*step 0, cannot be read, and distance_from_f"):
        dynamics.measure(dynamics.open_series(f"folder:{tiny_series}"), CHOSEN[:1], out=tmp_path / "run")


def test_every_language_metric_measures_on_a_real_folder(tiny_series: Path, text: Path, tmp_path: Path) -> None:
    """All of them together: one pass a task, shapes as declared, and finite numbers but for what has none before."""
    names = [name for name, known in METRICS.items() if known.task in ("text", "repeated_tokens", "bigrams")]
    names += ["copying_eigenvalues", "k_composition"]
    settings = dynamics.Settings(tasks={
        "text": {"path": str(text), "documents": "lines", "length": 12}, "bigrams": {"path": str(text), "least": 2},
    })  # fmt: skip
    series = dynamics.open_series(f"folder:{tiny_series}")
    run = dynamics.measure(series, names, out=tmp_path / "run", settings=settings)
    frame = run.measurements()
    assert set(frame["metric"]) == set(names)
    undefined = frame.filter(pl.col("value").is_null())
    assert set(undefined["metric"]) == {name for name in names if "previous" in METRICS[name].references}, undefined
    assert set(undefined["step"]) == {0}
    assert set(frame.group_by("step").len()["len"]) == {len(frame) // 4}
