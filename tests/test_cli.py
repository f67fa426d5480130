"""The command line: what it prints, its exit codes, and what it says of wrong requests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from dynamics import cli
from dynamics.store import Store

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process: exit code, output, errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dynamics", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def recipe(tmp_path: Path, text: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(
        f'name = "tiny"\nmetrics = ["prefix_matching", "loss"]\n[tasks.text]\npath = "{text.name}"\n'
        'documents = "lines"\n[tasks.repeated_tokens]\nn_examples = 4\n'
    )
    return path


def test_a_recipe_goes_from_checkpoints_to_a_report(
    command: Command, recipe: Path, tiny_series: Path, tmp_path: Path
) -> None:
    code, out, err = command("run", recipe, "--source", f"folder:{tiny_series}", "--out", tmp_path / "run")
    assert code == 0, err
    report = tmp_path / "run" / "report.html"
    assert f"report: {report}" in out
    assert report.stat().st_size > 10_000
    assert {"run.duckdb", "events.csv", "figures"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert "measure tiny: 4/4" in err


def test_measure_detect_report_query_one_after_the_other(
    command: Command, tiny_series: Path, tmp_path: Path, text: Path
) -> None:
    out = tmp_path / "run"
    code, _, err = command(
        "measure", f"folder:{tiny_series}", "--metrics", "loss,sum_of_squared_weights", "--steps", "0,100..",
        "--text", text, "--out", out,
    )  # fmt: skip
    # One file of 16 lines is one document: long enough for windows of the context's length.
    assert code == 0, err
    code, printed, _ = command("query", out, "SELECT step FROM curves WHERE metric = 'loss' ORDER BY step")
    assert (code, printed) == (0, "step\n0\n100\n1000\n")
    code, printed, _ = command("detect", out)
    assert code == 0
    assert printed.startswith("series,metric,layer,head,index,label,kind,direction,onset,midpoint")
    code, printed, _ = command("report", out)
    assert (code, printed.strip()) == (0, str(out / "report.html"))


def test_lists_can_be_asked_for_in_a_pipe(command: Command, tmp_path: Path) -> None:
    Store(tmp_path).close()
    assert command("query", tmp_path, "SELECT [1, 2] AS a, NULL::INT[] AS b") == (0, 'a,b\n"[1, 2]",\n', "")


def test_a_failed_checkpoint_is_exit_code_one(command: Command, tiny_series: Path, tmp_path: Path) -> None:
    (tiny_series / "step10" / "model.safetensors").write_bytes(b"cut")
    code, _, err = command(
        "measure", f"folder:{tiny_series}", "--metrics", "sum_of_squared_weights", "--out", tmp_path / "run"
    )
    assert code == 1
    assert "tiny step 10 failed: cannot read" in err
    assert "1 checkpoint failed: tiny step 10" in err
    with Store(tmp_path / "run", read_only=True) as store:
        assert store.read("curves")["step"].to_list() == [0, 100, 1000]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["measure", "folder:SERIES", "--metrics", "los", "--out", "OUT"], "unknown metric 'los'; did you mean 'loss'"),
        (["measure", "folder:nowhere", "--metrics", "loss", "--out", "OUT"], "no folder at 'nowhere'"),
        (["measure", "floder:SERIES", "--metrics", "loss", "--out", "OUT"], "unknown source 'floder'"),
        (["measure", "folder:SERIES", "--metrics", "loss", "--steps", "7", "--out", "OUT"], "step 7 is not in the"),
        (["measure", "folder:SERIES", "--metrics", "loss", "--steps", "100..10", "--out", "OUT"], "write 10..100"),
        (["measure", "folder:SERIES", "--metrics", "loss", "--steps", "2..9", "--out", "OUT"], "goes from 0 to 1000"),
        (["measure", "folder:SERIES", "--metrics", "loss", "--dtype", "fp8", "--out", "OUT"], "unknown dtype 'fp8'"),
        (["run", "nowhere.toml"], "cannot read recipe 'nowhere.toml'"),
        (["list", "metric"], "unknown list 'metric'; did you mean 'metrics'"),
        (["report", "OUT"], "no run at"),
        (["query", "OUT", "SELECT 1"], "no run at"),
    ],
)
def test_wrong_requests_are_exit_code_two_and_say_what_would_be_right(
    command: Command, tiny_series: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    places = {"SERIES": str(tiny_series), "OUT": str(tmp_path / "out")}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    code, _, err = command(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("what", ["series", "sources", "metrics", "tasks", "charts"])
def test_every_list_has_a_header_and_names(command: Command, what: str) -> None:
    code, out, _ = command("list", what)
    assert code == 0
    assert len(out.splitlines()) > 1


def test_audit_names_copies_and_unreadable_checkpoints(command: Command, tiny_series: Path) -> None:
    weights = [tiny_series / f"step{step}" / "model.safetensors" for step in (0, 10, 100)]
    weights[1].write_bytes(weights[0].read_bytes())
    weights[2].unlink()
    code, out, err = command("audit", f"folder:{tiny_series}")
    problems = dict(pl.read_csv(out.encode()).select("step", "problem").rows())
    assert code == 1
    assert "step 0" in problems[10]
    assert "step 10" in problems[0]  # nothing tells which of the two was published under a wrong name
    assert problems[100]
    assert not problems[1000]
    assert "4 checkpoints, 3 with a problem" in err


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_leaves_a_store_that_opens(
    how: signal.Signals, tiny_series: Path, tmp_path: Path, recipe: Path
) -> None:
    for number in range(300):
        os.symlink(tiny_series / "step10", tiny_series / f"step{2000 + number}")
    arguments = [sys.executable, "-m", "dynamics", "run", recipe, "--source", f"folder:{tiny_series}", "--out",
                 tmp_path / "run"]  # fmt: skip
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("measure"):
                break
        time.sleep(0.5)
        process.send_signal(how)
        rest = process.stderr.read()
        process.wait(timeout=30)
    with Store(tmp_path / "run", read_only=True) as store:
        stored = len(store.read("checkpoints"))
    assert 0 < stored < 304
    if how == signal.SIGINT:
        assert process.returncode == 130, rest
        assert "the same command goes on from there" in rest
