"""What `dynamics show` says of a run in terminals of several widths, and in a pipe."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from dashboards.frames import Frames, prepare, read_frames
from dashboards.terminal import blocks, overview, rows
from test_chart_frames import tables
from test_chart_stores import write_induction_run
from test_cli import command  # noqa: F401  (a fixture)
from test_report import hostile_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_induction_run(tmp_path_factory.mktemp("run"))


def printed(frames: Frames, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(overview(frames, width))
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("width", [60, 100, 160])
def test_no_line_is_longer_than_the_terminal_and_every_change_is_named(folder: Path, width: int) -> None:
    shown = printed(read_frames(folder), width)
    assert max(map(len, shown.splitlines())) <= width
    assert "Prefix matching rose" in " ".join(shown.split())
    assert "▁" in shown
    assert ("from → to" in shown) == (width >= 110)


def test_a_series_without_events_is_said_to_have_none(folder: Path) -> None:
    assert "one-layer: nothing emerged." in printed(read_frames(folder), 160)


def test_an_empty_store_prints_no_table() -> None:
    assert "curve" not in printed(prepare(tables([])), 100)


def test_a_curve_has_its_lowest_and_highest_letter_and_blanks_where_nothing_was_measured() -> None:
    assert blocks([0, 1, 3, 7, 15], [None, 0.0, 1.0, 0.5, None], 5) == " ▁█▅ "  # log(1 + step) in equal steps
    assert set(blocks([5], [1.0], 4)) == {" ", "▁"}
    assert blocks([0, 1], [None, None], 3) == "   "
    assert set(blocks([0, 1, 2], [3.0, 3.0, 3.0], 9)) == {"▁"}


def test_in_a_pipe_it_is_csv(command, folder: Path) -> None:  # noqa: F811  # pyright: ignore
    code, out, _ = command("show", folder)
    assert code == 0
    read = pl.read_csv(io.StringIO(out))
    assert read.height == rows(read_frames(folder)).height
    numbers = read.select("midpoint", "lower", "upper", "before", "after", "q_value")
    assert all(kind.is_numeric() for kind in numbers.dtypes), "a program reads it: no 4,101 and no 10⁻⁶"
    assert (read["lower"] <= read["midpoint"]).all()
    assert set(read["large"]) <= {True, False}


def test_the_letters_of_the_midpoints_interval_are_marked_and_small_changes_are_faint(folder: Path) -> None:
    frames = read_frames(folder)
    console = Console(file=io.StringIO(), width=160, force_terminal=True, color_system="standard", highlight=False)
    console.print(overview(frames, 160))
    shown = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    table = rows(frames)
    marked = [line for line in shown.splitlines() if "\x1b[1;35m" in line]
    assert len(marked) == table.height
    faint = [line for line in shown.splitlines() if "\x1b[2;36m" in line]
    assert len(faint) == table.filter(~pl.col("large")).height
    plain = Console(file=io.StringIO(), width=160, force_terminal=True, no_color=True, highlight=False)
    plain.print(overview(frames, 160))
    assert "\x1b[35m" not in plain.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_the_facts_break_between_facts(folder: Path) -> None:
    lines = printed(read_frames(folder), 60).splitlines()
    assert not any(line.strip().endswith("·") or line.strip().startswith("·") for line in lines[:4])


def test_hostile_names_stay_in_their_cells(tmp_path: Path) -> None:
    frames = read_frames(hostile_run(tmp_path / "run"))
    shown = printed(frames, 80)
    assert max(map(len, shown.splitlines())) <= 80
    assert "\u202e" not in shown
    assert "\x1b]" not in shown
