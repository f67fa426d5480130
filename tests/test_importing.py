"""Results that others measured: what tables, harness results and training logs become in a store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import dynamics
from conftest import tiny_model
from dynamics.errors import UsageError
from dynamics.importing import import_results
from dynamics.store import Store
from dynamics.training import save

LONG = pl.DataFrame({
    "model": ["a", "a", "a", "b"], "step": [0, 0, 10, 0], "task": ["sciq"] * 4,
    "metric": ["acc", "acc_stderr", "acc", "ppl"], "value": [0.25, 0.01, 0.5, 30.0],
})  # fmt: skip


def take(path: Path, out: Path, **options: object) -> pl.DataFrame:
    with Store(out) as store:
        import_results(path, store, **options)
    return dynamics.Run(out).measurements()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_long_tables(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        LONG.write_parquet(path)
    else:
        LONG.write_csv(path, separator="\t" if suffix == ".tsv" else ",")
    rows = take(path, tmp_path / "run").select("series", "step", "metric", "value", "stderr").rows()
    assert rows == [
        ("a", 0, "sciq_acc", 0.25, 0.01), ("a", 10, "sciq_acc", 0.5, None), ("b", 0, "sciq_ppl", 30.0, None),
    ]  # fmt: skip
    asked = "SELECT metric, unit, lower, upper, source FROM metrics ORDER BY metric"
    metrics = dynamics.Run(tmp_path / "run").query(asked)
    assert metrics.rows() == [("sciq_acc", "share", 0.0, 1.0, f"imported from table{suffix}"),
                              ("sciq_ppl", "", None, None, f"imported from table{suffix}")]  # fmt: skip


def test_a_second_import_replaces_and_does_not_double(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    LONG.write_parquet(path)
    first = take(path, tmp_path / "run")
    assert take(path, tmp_path / "run").drop("run_id").equals(first.drop("run_id"))
    LONG.with_columns(value=pl.col("value") * 2).write_parquet(path)
    assert take(path, tmp_path / "run")["value"].to_list() == [0.5, 1.0, 60.0]


def test_only_the_metrics_that_were_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    LONG.write_parquet(path)
    assert take(path, tmp_path / "run", only=("*_acc",))["metric"].unique().to_list() == ["sciq_acc"]
    with pytest.raises(UsageError, match="no metric .* it has sciq_acc, sciq_ppl"):
        take(path, tmp_path / "run", only=("lambada*",))


@pytest.mark.parametrize("arguments", ["pretrained=org/tiny,revision=step1000", {"pretrained": "org/tiny",
                                       "revision": "step1000"}, "pretrained=org/tiny"])  # fmt: skip
def test_harness_results_take_their_step_from_the_revision(tmp_path: Path, arguments: object) -> None:
    folder = tmp_path / "tiny-step1000"
    folder.mkdir()
    content = {
        "results": {"sciq": {"alias": "sciq", "acc,none": 0.8, "acc_stderr,none": 0.02, "acc_stderr,get": 0.1,
                             "acc,get": 0.7}},
        "config": {"model_args": arguments}, "n-samples": {"sciq": {"original": 1000, "effective": 400}},
    }  # fmt: skip
    (folder / "results_2026.json").write_text(json.dumps(content))
    rows = take(tmp_path, tmp_path / "run").select("series", "step", "metric", "value", "stderr", "n").rows()
    assert rows == [("tiny", 1000, "sciq_acc", 0.8, 0.02, 400), ("tiny", 1000, "sciq_acc_get", 0.7, 0.1, 400)] or (
        arguments == "pretrained=org/tiny" and [row[1:] for row in rows] == [
            (1000, "sciq_acc", 0.8, 0.02, 400), (1000, "sciq_acc_get", 0.7, 0.1, 400)]
    )  # fmt: skip


def harness(folder: Path, arguments: str) -> None:
    folder.mkdir(parents=True)
    content = {"results": {"sciq": {"acc,none": len(arguments) / 100}}, "config": {"model_args": arguments}}
    (folder / "results_2024-06-01T12-00-00.json").write_text(json.dumps(content))


def test_a_size_or_a_date_is_no_step(tmp_path: Path) -> None:
    """The step of "main" is not 160,000,000 because its folder is called 160M."""
    harness(tmp_path / "160M", "pretrained=org/tiny,revision=main")
    with pytest.raises(UsageError, match="names no step: its revision is 'main'"):
        take(tmp_path, tmp_path / "run")


def test_checkpoints_of_a_local_run_are_one_history(tmp_path: Path) -> None:
    for step in (500, 1000):
        harness(tmp_path / str(step), f"pretrained=/runs/mine/checkpoint-{step},dtype=float32")
    assert take(tmp_path, tmp_path / "run").select("series", "step").rows() == [("mine", 500), ("mine", 1000)]


def test_two_histories_under_one_name_are_refused(tmp_path: Path) -> None:
    """Of two seeds' values at one step neither may stand for both."""
    frame = LONG.with_columns(seed=pl.lit(1))
    pl.concat([frame, frame.with_columns(seed=2, value=pl.col("value") + 0.1)]).write_csv(tmp_path / "x.csv")
    with pytest.raises(UsageError, match=r"says 0.\d+ and 0.\d+ of 'sciq_acc' of 'a' at step 0.*not read: seed"):
        take(tmp_path / "x.csv", tmp_path / "run")
    pl.concat([frame, frame.with_columns(seed=2)]).write_csv(tmp_path / "y.csv")  # which agree
    assert len(take(tmp_path / "y.csv", tmp_path / "run")) == 3


@pytest.mark.parametrize(
    ("steps", "message"), [(["step0", "step10"], "expected whole numbers as steps"), ([0.5, 1.0], "has step 0.5")]
)
def test_steps_that_are_no_whole_numbers_are_refused(tmp_path: Path, steps: list[object], message: str) -> None:
    frame = pl.DataFrame({"series": "a", "step": steps, "metric": "loss", "value": 1.0})
    frame.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=message):
        take(tmp_path / "x.parquet", tmp_path / "run")


def test_a_trainers_log_stands_beside_what_is_measured(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for step in (10, 20):
        save(tiny_model(step), folder / f"checkpoint-{step}", None)
        history = [{"step": s, "loss": 5 - s / 10, "learning_rate": 0.1, "epoch": 1.0} for s in range(5, step + 1, 5)]
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    run = dynamics.measure(dynamics.open_series(f"folder:{folder}"), ["sum_of_squared_weights"], out=tmp_path / "run")
    rows = run.measurements()
    logged = rows.filter(pl.col("metric") == "logged_loss")
    assert logged.select("step", "value").rows() == [(5, 4.5), (10, 4.0), (15, 3.5), (20, 3.0)]
    assert rows.filter(pl.col("metric") == "sum_of_squared_weights")["step"].to_list() == [10, 20]
    states = dict(run.checkpoints().select("step", "status").rows())
    assert states == {5: "imported", 10: "measured", 15: "imported", 20: "measured"}
    alone = take(folder / "checkpoint-20" / "trainer_state.json", tmp_path / "alone")
    assert alone.filter(pl.col("metric") == "logged_loss")["value"].to_list() == [4.5, 4.0, 3.5, 3.0]
    assert alone["series"].unique().to_list() == ["mine"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("x.csv", "a,b\n1,2\n", "has no column step .or global_step., metric, value"), ("x.json", "{}", "cannot import"),
     ("x.parquet", "no parquet", "cannot read"),
     ("x.json", '{"results": {"sciq": {"acc": 1}}, "config": {"model_args": "pretrained=a"}}', "names no step")],
)  # fmt: skip
def test_what_cannot_be_imported_says_why(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        take(tmp_path / name, tmp_path / "run")
    with pytest.raises(UsageError, match="nothing at"):
        take(tmp_path / "absent.csv", tmp_path / "run")


def test_the_published_pythia_evaluations(reference_data: Callable[[str], Path], tmp_path: Path) -> None:
    rows = take(reference_data("data/pythia_v1_zeroshot_evals.parquet"), tmp_path / "run", only=("lambada_openai_acc",))
    assert rows["series"].n_unique() == 16
    assert rows["step"].n_unique() == 27
    assert rows["stderr"].null_count() == 0
    small, large = (rows.filter(pl.col("step") == step)["value"] for step in (512, 143000))
    assert small.max() <= 0.0004
    assert large.min() > 0.1
