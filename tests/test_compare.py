"""Several runs in one report: names kept apart, seeds together, one axis for all, agreement between seeds."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from dashboards import side_by_side
from dashboards.compare import compare
from dashboards.gather import Gathered, gather
from dynamics.cli import app
from dynamics.errors import UsageError
from dynamics.store import SCHEMA, Store
from test_chart_stores import write_grokking_run, write_induction_run
from test_report import Page


def write_seed(folder: Path, seed: int) -> Path:
    """The induction run again: events later and values larger by a tenth a seed, more tokens a step."""
    write_induction_run(folder)
    with Store(folder) as store:
        store.query(f"UPDATE series SET seed = {seed}")
        store.query(f"UPDATE measurements SET value = value * {1 + 0.1 * seed}")
        store.query(f"UPDATE checkpoints SET tokens_seen = tokens_seen * {1 + seed}")
        for column in ("onset", "midpoint", "completion", "lower", "upper"):
            store.query(f"UPDATE events SET {column} = {column} * {1 + 0.1 * seed}")
    return folder


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("seeds")
    return [write_seed(folder / f"run{seed}", seed) for seed in range(3)]


@pytest.fixture(scope="module")
def gathered(seeds: list[Path]) -> Gathered:
    return gather(seeds)


@pytest.fixture(scope="module")
def asked(seeds: list[Path]) -> Result:
    """What the command answers when it compares them."""
    return CliRunner().invoke(app, ["compare", *map(str, seeds), "--out", str(seeds[0].parent / "compared")])


@pytest.fixture(scope="module")
def page(asked: Result) -> Path:
    return Path(asked.output.strip())


def test_equal_names_get_their_folders_and_seeds_their_model(gathered: Gathered) -> None:
    assert set(gathered.frames.series_names()) == {
        f"{name} (run{seed})" for name in ("two-layer", "one-layer") for seed in range(3)
    }
    assert gathered.group_names() == ["one-layer (3 seeds)", "two-layer (3 seeds)"]
    assert len(gathered.seeds("two-layer (3 seeds)")) == 3


def test_the_same_model_measured_twice_is_not_two_seeds(tmp_path: Path) -> None:
    twice = gather([write_induction_run(tmp_path / "a"), write_induction_run(tmp_path / "b")])
    assert twice.group_names() == sorted(twice.frames.series_names())


def test_seeds_are_a_band_and_no_mean(gathered: Gathered) -> None:
    figure = next(figure for figure in side_by_side.figures(gathered) if figure.name == "models_by_step")
    spec = figure.specification()
    bands = [rows for rows in spec["datasets"].values() if rows and "top" in rows[0]]
    assert {row["group"] for rows in bands for row in rows} == {"two-layer (3 seeds)", "one-layer (3 seeds)"}
    at_650 = [row for rows in bands for row in rows if row["step"] == 650 and row["group"].startswith("two")]
    assert at_650 == []  # the checkpoint that failed is no part of a band
    assert "Series that differ in their seed alone share a colour" in spec["description"]


def test_every_series_has_its_own_tokens(gathered: Gathered) -> None:
    rows = side_by_side.curves(gathered)
    last = rows.filter((rows["metric"] == "loss") & (rows["step"] == 1000) & rows["series"].str.starts_with("two"))
    assert sorted(last["tokens_seen"].to_list()) == [2_048_000, 4_096_000, 6_144_000]
    assert [figure.name for figure in side_by_side.figures(gathered)] == [
        "models_by_step",
        "models_by_tokens",
        "models_by_loss",
    ]


def test_the_report_says_what_seeds_agree_on(page: Path) -> None:
    text = " ".join(Page(page).text.replace("\u00a0", " ").split())
    cells = (page.parent / "report.md").read_text(encoding="utf-8").replace(" | ", "|")
    assert "Induction heads formed in 3 of 6 series: a head matches prefixes between steps 334–520" in text
    assert "Not found in one-layer (run0), one-layer (run1) and one-layer (run2)" in text
    assert "Agreement between seeds" in text
    assert "Prefix matching rose|two-layer (3 seeds)|3 of 3|100% (44%–100%)|417 (376–462)" in cells
    fell = next(line for line in cells.splitlines() if "Loss fell|3 of 6" in line)
    assert fell.rstrip("| ").endswith("|one-layer (run0), one-layer (run1) and one-layer (run2)")
    assert "q is corrected within each run" in text


def test_its_files_are_written(page: Path) -> None:
    names = {path.name for path in page.parent.iterdir()}
    assert names == {"report.html", "report.md", "events.csv", "measurements.parquet", "figures"}
    assert (page.parent / "figures" / "models_by_step.png").stat().st_size > 10_000
    assert "Agreement between seeds" in (page.parent / "report.md").read_text(encoding="utf-8")


def test_its_archive_has_every_number_as_it_is_stored(page: Path, gathered: Gathered) -> None:
    archive = pl.read_parquet(page.parent / "measurements.parquet")
    assert archive.schema == pl.Schema(SCHEMA["measurements"])
    for run, names in gathered.folders.items():
        with Store(run, read_only=True) as store:
            stored = store.read("measurements").with_columns(pl.col("series").replace(names))
        assert archive.filter(pl.col("series").is_in(names.values())).sort(pl.all()).equals(stored.sort(pl.all()))
    assert set(archive["series"]) == set(gathered.frames.series_names())


def test_runs_of_different_kinds_stand_beside_each_other(tmp_path: Path) -> None:
    folders = [write_induction_run(tmp_path / "a"), write_grokking_run(tmp_path / "b")]
    text = Page(compare(folders, tmp_path / "out", pictures=False)).text
    assert "Grokking took place in addition" in text
    assert "Agreement between seeds" not in text


def test_other_inputs_and_definitions_are_said(tmp_path: Path) -> None:
    folders = [write_induction_run(tmp_path / name) for name in ("a", "b")]
    with Store(folders[1]) as store:
        store.query("UPDATE measurements SET task_hash = 'other' WHERE metric = 'loss'")
        store.query("UPDATE measurements SET version = 2 WHERE metric = 'prefix_matching'")
    cautions = gather(folders).cautions
    assert any("The inputs differ between series for loss:" in caution for caution in cautions)
    assert any("Of prefix_matching the runs hold several versions" in caution for caution in cautions)


@pytest.mark.parametrize("folders", [[], ["a", "a"]])
def test_nothing_or_one_run_twice_is_refused(tmp_path: Path, folders: list[str]) -> None:
    with pytest.raises(UsageError, match="expected folders of different runs"):
        gather([tmp_path / name for name in folders])


def test_a_run_keeps_its_own_report(seeds: list[Path]) -> None:
    with pytest.raises(UsageError, match="it is one of the runs"):
        compare(seeds, seeds[0])
    with pytest.raises(UsageError, match="no run at"):
        compare([seeds[0], seeds[0].parent / "none"], seeds[0].parent / "out")


def test_no_figure_names_a_colour(gathered: Gathered) -> None:
    for figure in side_by_side.figures(gathered):
        spec = figure.specification()
        spec.pop("datasets")
        assert "#" not in json.dumps(spec)


def test_the_command_writes_it_and_says_where(seeds: list[Path], asked: Result) -> None:
    assert asked.exit_code == 0
    assert Path(asked.output.strip()) == seeds[0].parent / "compared" / "report.html"


def test_many_models_are_compared_with_one_row_for_each_change(tmp_path: Path) -> None:
    folders = [write_induction_run(tmp_path / name, failed=False) for name in ("a", "b", "c")]
    page = compare(folders, tmp_path / "out", pictures=False).read_text("utf-8")
    assert "<th>Series with it</th>" in page
    assert '<td class="number">3 of 6</td>' in page
