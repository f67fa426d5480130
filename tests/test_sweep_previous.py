"""The checkpoint before, through a sweep: resumed, replaced, failed, chosen steps; never a number of other weights."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from safetensors.torch import load_file

import dynamics
from conftest import tiny_model
from dynamics.callback import MeasureCallback
from dynamics.checkpoint import Checkpoint, Files, hash_file
from dynamics.errors import UsageError
from dynamics.sources import Series
from dynamics.sweep import Settings
from dynamics.training import save

NAME = "blocks.1.attn.W_Q"
METRICS = ["update_norm", "update_cosine", "weight_norm"]
STEPS = (0, 10, 100, 1000)


def sweep(folder: Path, out: Path, metrics: list[str] | None = None, **opened: object) -> dict[int, str]:
    """Measure; what happened at each step."""
    seen: dict[int, str] = {}
    series = dynamics.open_series(f"folder:{folder}", **opened)  # pyright: ignore[reportArgumentType]
    dynamics.measure(series, metrics or METRICS, out=out,
                     watch=lambda event: seen.update({event.checkpoint.step: event.status}))  # fmt: skip
    return seen


def curve(out: Path, metric: str = "update_norm") -> dict[int, float | None]:
    frame = dynamics.Run(out).measurements().filter(pl.col("metric") == metric, pl.col("label") == NAME)
    assert frame["step"].is_unique().all()
    return dict(frame.sort("step").select("step", "value").rows())


def norms(folder: Path, *steps: int) -> dict[int, float | None]:
    """What the files themselves say, with the first step as a gap."""
    files = {step: load_file(folder / f"step{step}" / "model.safetensors")[NAME].double() for step in steps}
    found: dict[int, float | None] = {steps[0]: None}
    for before, here in zip(steps, steps[1:], strict=False):
        found[here] = float((files[here] - files[before]).norm()) / (here - before)
    return found


def test_updates_are_those_of_the_files(tiny_series: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert sweep(tiny_series, out) == dict.fromkeys(STEPS, "measured")
    assert curve(out) == pytest.approx(norms(tiny_series, *STEPS))
    files = [load_file(tiny_series / f"step{step}" / "model.safetensors")[NAME].double() for step in STEPS]
    moves = [there - here for here, there in zip(files, files[1:], strict=False)]
    cosines = [float((a * b).sum() / a.norm() / b.norm()) for a, b in zip(moves, moves[1:], strict=False)]
    assert curve(out, "update_cosine") == pytest.approx(dict(zip(STEPS, [None, None, *cosines], strict=True)))
    notes = dict(dynamics.Run(out).checkpoints().select("step", "note").rows())
    assert "update_norm is undefined: there is no checkpoint before" in notes[0]
    assert "update_norm" not in notes[10]
    assert "update_cosine is undefined: there are not two checkpoints before" in notes[10]


def test_a_second_sweep_measures_nothing_again(tiny_series: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    sweep(tiny_series, out)
    before = curve(out)
    assert sweep(tiny_series, out) == dict.fromkeys(STEPS, "stored")
    assert curve(out) == before
    save(tiny_model(9), tiny_series / "step2000", None)
    assert sweep(tiny_series, out)[2000] == "measured"
    assert curve(out) == pytest.approx(norms(tiny_series, *STEPS, 2000))


def test_a_step_that_comes_between_changes_the_one_after_it(tiny_series: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    sweep(tiny_series, out)
    save(tiny_model(8), tiny_series / "step50", None)
    again = sweep(tiny_series, out, ["update_norm"])
    assert again == {0: "stored", 10: "stored", 50: "measured", 100: "measured", 1000: "stored"}
    assert curve(out) == pytest.approx(norms(tiny_series, 0, 10, 50, 100, 1000))


def test_replaced_weights_change_their_own_number_and_the_next(tiny_series: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    sweep(tiny_series, out, ["update_norm"])
    shutil.rmtree(tiny_series / "step10")
    save(tiny_model(77), tiny_series / "step10", None)
    # A run that looks at step 10 alone knows nothing of what came before; and the number at 100 is no longer true.
    sweep(tiny_series, out, ["update_norm"], steps="10")
    assert curve(out).keys() == {0, 10, 1000}
    assert curve(out)[10] is None
    again = sweep(tiny_series, out, ["update_norm"])
    assert again == {0: "stored", 10: "measured", 100: "measured", 1000: "stored"}
    assert curve(out) == pytest.approx(norms(tiny_series, *STEPS))


def test_a_checkpoint_that_fails_is_passed_over(tiny_series: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    good = (tiny_series / "step10" / "model.safetensors").read_bytes()
    (tiny_series / "step10" / "model.safetensors").write_bytes(good[:2000])
    assert sweep(tiny_series, out)[10] == "failed"
    assert curve(out) == pytest.approx(norms(tiny_series, 0, 100, 1000))
    (tiny_series / "step10" / "model.safetensors").write_bytes(good)
    again = sweep(tiny_series, out, ["update_norm"])
    assert again == {0: "stored", 10: "measured", 100: "measured", 1000: "stored"}
    assert curve(out) == pytest.approx(norms(tiny_series, *STEPS))


def test_the_checkpoint_before_is_that_of_the_chosen_steps(tiny_series: Path, tmp_path: Path) -> None:
    """The latest run that looked at a step decides there."""
    out = tmp_path / "run"
    sweep(tiny_series, out, ["update_norm"])
    sweep(tiny_series, out, ["update_norm"], steps="0,100")
    mixed = norms(tiny_series, *STEPS) | {100: norms(tiny_series, 0, 100)[100]}
    assert curve(out) == pytest.approx(mixed)
    assert set(sweep(tiny_series, out, ["update_norm"]).values()) == {"stored"}
    assert curve(out) == pytest.approx(norms(tiny_series, *STEPS))


def test_an_adaptive_sweep_reads_the_checkpoint_before_wherever_it_looks(tmp_path: Path) -> None:
    folder, steps = tmp_path / "long", [10 * i for i in range(24)]
    for i, step in enumerate(steps):
        save(tiny_model(i, d_model=8, n_layers=1), folder / f"step{step}", None)
    series = dynamics.open_series(f"folder:{folder}")
    run = dynamics.measure(series, ["update_norm"], out=tmp_path / "run", settings=Settings(budget=10))
    frame = run.measurements().filter(pl.col("label") == "blocks.0.attn.W_Q").sort("step")
    assert 0 < len(frame) <= 10
    assert len(frame) < len(steps)
    files = {step: load_file(folder / f"step{step}" / "model.safetensors")["blocks.0.attn.W_Q"] for step in steps}
    found = dict(frame.select("step", "value").rows())
    apart = {step: float((files[step] - files[step - 10]).double().norm() / 10) for step in found if step}
    assert found == pytest.approx(apart | {0: None})


def test_the_learning_rates_between_are_those_of_the_log(tiny_series: Path, tmp_path: Path) -> None:
    """Logged at steps 1, 5 and 105: along straight lines between, and nothing beyond the last."""
    opened = dynamics.open_series(f"folder:{tiny_series}")
    rates = {1: 0.0, 5: 0.4, 105: 0.4}
    log = [{"step": step, "learning_rate": rate} for step, rate in rates.items()]
    series = Series(opened.name, opened.source, opened.checkpoints, opened.fetch, logged=lambda: log)
    dynamics.measure(series, ["update_norm_per_learning_rate"], out=tmp_path / "run")
    found = curve(tmp_path / "run", "update_norm_per_learning_rate")
    by_step = norms(tiny_series, *STEPS)
    assert by_step[10] is not None
    assert by_step[100] is not None
    to_ten = 0.0 + 0.1 + 0.2 + 0.3 + 0.4 + 5 * 0.4
    expected = {0: None, 10: by_step[10] * 10 / to_ten, 100: by_step[100] / 0.4, 1000: None}
    assert found == pytest.approx(expected)


def test_published_hashes_tell_that_nothing_need_be_fetched(tiny_series: Path, tmp_path: Path) -> None:
    """With the hashes known beforehand a second sweep opens no file, and yet decides for every step."""
    opened, fetched = dynamics.open_series(f"folder:{tiny_series}"), []

    def weigh(checkpoint: Checkpoint) -> SimpleNamespace:
        path = tiny_series / f"step{checkpoint.step}" / "model.safetensors"
        return SimpleNamespace(hashes={path.name: hash_file(path)})

    def fetch(checkpoint: Checkpoint) -> Files:
        fetched.append(checkpoint.step)
        return opened.fetch(checkpoint)

    series = replace(opened, fetch=fetch, publication=SimpleNamespace(weigh=weigh))  # pyright: ignore
    dynamics.measure(series, METRICS, out=tmp_path / "run")
    before = curve(tmp_path / "run")
    fetched.clear()
    # One to make the model from, as ever.
    dynamics.measure(series, METRICS, out=tmp_path / "run")
    assert fetched == [0]
    assert curve(tmp_path / "run") == before
    shutil.rmtree(tiny_series / "step10")
    save(tiny_model(77), tiny_series / "step10", None)
    fetched.clear()
    dynamics.measure(series, METRICS, out=tmp_path / "run")
    # Step 10 has changed, 100 refers to it, and so does the cosine at 1000; 10 is not there before 0 is read again.
    assert sorted(set(fetched)) == [0, 10, 100, 1000]
    assert curve(tmp_path / "run") == pytest.approx(norms(tiny_series, *STEPS))


def test_while_training_there_is_no_checkpoint_before(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'update_norm' refers to the previous checkpoint, which is not at hand"):
        MeasureCallback(["update_norm"], out=tmp_path)
