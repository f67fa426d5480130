"""The rules of the house: whose packages these are, what may import what, and what loads without torch."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import dashboards
import dynamics
import metrics

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("package", [dynamics, metrics, dashboards])
def test_the_packages_are_ours(package: object) -> None:
    """The registry has distributions of these names; a stranger's would be imported without a word."""
    assert Path(package.__file__).is_relative_to(ROOT)  # pyright: ignore[reportAttributeAccessIssue]
    # An editable install lists no packages; any other distribution that does would be a stranger.
    owners = metadata.packages_distributions().get(package.__name__, ["training-dynamics"])  # pyright: ignore
    assert set(owners) == {"training-dynamics"}


def modules_after(code: str) -> set[str]:
    """The top-level modules that are loaded in a fresh interpreter after some code."""
    printed = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    answer = subprocess.run([sys.executable, "-c", printed], capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import dynamics; dynamics.Run, dynamics.Store, dynamics.detect",
        "import dynamics.store, dynamics.events, dynamics.recipe, dynamics.run, dynamics.errors",
        "import dashboards.report",
        "import dynamics.cli",
    ],
)
def test_loads_without_torch(code: str) -> None:
    assert not {"torch", "transformers"} & modules_after(code)


def test_that_test_can_fail() -> None:
    assert "torch" in modules_after("import dynamics; dynamics.open_series")


def test_import_contracts_hold() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_metric_file_is_in_the_independence_contract() -> None:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = content["tool"]["importlinter"]["contracts"]
    named = next(set(contract["modules"]) for contract in contracts if contract["type"] == "independence")
    defining = {metric.function.__module__ for metric in metrics.METRICS.values()}
    assert defining == named


def test_every_public_name_of_the_library_exists() -> None:
    for name in dynamics.__all__:
        assert getattr(dynamics, name)
    with pytest.raises(AttributeError, match="module 'dynamics' has no attribute 'open_serie'; it has"):
        dynamics.open_serie  # noqa: B018


def test_every_command_is_in_the_readme() -> None:
    from dynamics.cli import app

    readme = (ROOT / "README.md").read_text()
    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    missing = {name for name in names if f"dynamics {name}" not in readme}
    assert not missing
