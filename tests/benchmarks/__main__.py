"""`make bench`: every benchmark beside this file, one after the other. Ratios, since machines differ."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

# Benchmarks that need data of their own are run by hand; their docstrings say how.
BY_HAND = {"events"}


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all."""
    files = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    for name in names or [name for name in files if name not in BY_HAND]:
        module = import_module(f"tests.benchmarks.{name}")
        if hasattr(module, "main"):
            for line in module.main() or []:
                print(line, flush=True)


main(sys.argv[1:])
