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
    assert read.columns == ["series", "change", "curve", "midpoint", "interval", "from to", "q"]
    assert read.height == rows(read_frames(folder)).height
