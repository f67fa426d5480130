"""The report as PDF: printed where there is a browser, a clear word where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboards import printing
from dashboards.report import write_report
from dynamics.errors import DynamicsError, UsageError
from test_chart_stores import write_induction_run


def test_without_a_browser_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(printing.VARIABLE, raising=False)
    with pytest.raises(UsageError, match=r"no browser was found .*chromium.*DYNAMICS_BROWSER.*report\.html"):
        printing.write_pdf(tmp_path / "report.html")


def test_a_named_browser_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(printing.VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="DYNAMICS_BROWSER names .*nothing.*no program"):
        printing.browser()


def test_a_browser_that_prints_nothing_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "browser"
    program.write_text("#!/bin/sh\necho out of paper >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv(printing.VARIABLE, str(program))
    with pytest.raises(DynamicsError, match="could not print .*out of paper"):
        printing.write_pdf(tmp_path / "report.html")


@pytest.mark.slow
def test_every_figure_is_printed(tmp_path: Path) -> None:
    if printing.browser() is None:
        pytest.skip("no browser on this machine")
    page = write_report(write_induction_run(tmp_path / "run"), pictures=False)
    content = printing.write_pdf(page).read_bytes()
    assert content.startswith(b"%PDF")
    assert content.count(b"/Subtype /Image") >= page.read_text("utf-8").count('<div class="plot"')
