"""The report as PDF, printed by a browser of this machine. Nothing is downloaded: without a browser there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from dynamics.errors import DynamicsError, UsageError

VARIABLE = "DYNAMICS_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
SECONDS = 180  # for a browser to draw every figure and print, on a busy machine
PATIENCE = 60_000  # milliseconds of the page's own clock for the figures to be drawn


def browser() -> str | None:
    """The browser that prints: the one that the environment names, else the first of `NAMES` on the path."""
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            msg = f"{VARIABLE} names {named!r}, which is no program; give the path of Chromium, Chrome or Edge"
            raise UsageError(msg)
        return found
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def write_pdf(page: Path) -> Path:
    """Print report.html into report.pdf beside it.

    Raises UsageError where no browser is found, DynamicsError where it fails.
    """
    program = browser()
    if program is None:
        msg = (
            f"no PDF: no browser was found ({', '.join(NAMES[:3])} ... on the path); install Chromium or name one in "
            f"{VARIABLE}, or open {page} in any browser and print it"
        )
        raise UsageError(msg)
    out = page.with_suffix(".pdf").resolve()
    out.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="dynamics-print-") as profile:
        command = [
            program, "--headless", "--disable-gpu", f"--user-data-dir={profile}", "--no-pdf-header-footer",
            "--force-device-scale-factor=2", "--window-size=1600,1200",  # pictures of 192 dots an inch, not of 96
            "--disable-background-networking", "--no-first-run", f"--virtual-time-budget={PATIENCE}",
            *["--no-sandbox"] * (os.geteuid() == 0),  # Chromium refuses to run as root with one
            f"--print-to-pdf={out}", f"{page.resolve().as_uri()}#print",
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            msg = f"no PDF: {program} did not print {page} within {SECONDS} seconds; open it in a browser and print it"
            raise DynamicsError(msg) from error
    if not out.exists():
        msg = f"no PDF: {program} could not print {page}: {done.stderr.strip()[-300:] or 'it did not say why'}"
        raise DynamicsError(msg)
    return out
