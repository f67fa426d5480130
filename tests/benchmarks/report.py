"""How long a report takes to open and to answer a hover in a browser, and how many bytes it has.

Sizes: 40 steps of 32 heads (two metrics), and 150 steps of 1,024 heads (153,600 numbers). The opening time is from the
address to the first figure on the screen, as the page itself notes it: a driver that asks from outside waits for the
figures after it too. Needs Debian's chromium and the playwright package, and says so where they are missing. CPU
seconds are those of the page's own process.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dashboards.report import write_report
from dynamics.store import Store

SIZES = {"40 steps x 32 heads": (40, 4, 8), "150 steps x 1,024 heads": (150, 32, 32)}
METRICS = ("prefix_matching", "previous_token_attention")
HOVERS = 10


def main() -> list[str]:
    """The lines to print."""
    with tempfile.TemporaryDirectory() as folder:
        pages = {name: _written(Path(folder) / f"run{number}", *size) for number, (name, size) in
                 enumerate(SIZES.items())}  # fmt: skip
        lines = [f"report: {name}: {seconds:.1f} s to write, {page.stat().st_size / 1e6:.2f} MB"
                 for name, (page, seconds) in pages.items()]  # fmt: skip
        return lines + _opened({name: page for name, (page, _) in pages.items()})


def _written(folder: Path, steps: int, layers: int, heads: int) -> tuple[Path, float]:
    """A report on made-up curves of which one head in sixteen rises, and the seconds that writing it took."""
    draw = np.random.default_rng(0)
    at = np.unique(np.geomspace(1, 143_000, steps).astype(int))
    place = np.arange(layers * heads)
    shared = {"series": "model", "stage": "", "weights_sha": "w", "task_hash": "t", "version": 1, "run_id": "r"}
    with Store(folder) as store:
        for metric in METRICS:
            rise = 1 / (1 + np.exp(-4 * (np.log(at)[:, None] - np.log(2000) - place[None] * 1e-3)))
            values = 0.05 + 0.6 * rise * (place % 16 == 0) + draw.normal(0, 0.01, (len(at), len(place)))
            step, head = np.repeat(at, len(place)), np.tile(place, len(at))
            frame = pl.DataFrame({"step": step, "layer": head // heads, "head": head % heads, "value": values.ravel()})
            same = [pl.lit(value).alias(name) for name, value in {**shared, "metric": metric, "n": 256}.items()]
            store.write(measurements=frame.with_columns(*same, stderr=pl.lit(0.01)))
        store.write(
            metrics=[{"metric": metric, "version": 1, "axes": "layer,head", "lower": 0.0, "upper": 1.0}
                     for metric in METRICS],
            checkpoints=[{"series": "model", "stage": "", "step": int(step), "status": "measured"} for step in at],
        )  # fmt: skip
        store.write_events(pl.DataFrame([_event(metric, int(i), heads) for metric in METRICS for i in place[::16]]))
    begun = time.perf_counter()
    page = write_report(folder, pictures=False)
    return page, time.perf_counter() - begun


def _event(metric: str, place: int, heads: int) -> dict[str, Any]:
    ends = {"onset": 1200.0, "lower": 1800.0, "midpoint": 2000.0 + 2 * place, "upper": 4500.0, "completion": 6000.0}
    sizes = {"before": 0.05, "after": 0.65, "magnitude": 0.6, "p_value": 1e-6, "q_value": 1e-5}
    return {"series": "model", "metric": metric, "layer": place // heads, "head": place % heads, "kind": "transition",
            "direction": "up", **ends, **sizes}  # fmt: skip


def _opened(pages: dict[str, Path]) -> list[str]:
    """Opening and hovering each page, three times each; the middle of the three."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        return ["report: not opened: needs chromium and the playwright package"]
    lines = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name, path in pages.items():
            opened, hovered = zip(*(_visit(browser, path) for _ in range(3)), strict=True)
            seconds, hover = (sorted(times)[1] for times in (opened, hovered))
            lines.append(f"report: {name}: first figure after {seconds:.2f} s, "
                         f"a hover costs {1000 * hover:.0f} ms of CPU; load {os.getloadavg()[0]:.1f}")  # fmt: skip
        browser.close()
    return lines


NOTE = """new MutationObserver((_, own) => {
    if (!document.querySelector(".plot canvas")) return;
    own.disconnect();
    requestAnimationFrame(() => setTimeout(() => { window.opened = performance.now() / 1000; }));
}).observe(document, { childList: true, subtree: true })"""


def _visit(browser: Any, path: Path) -> tuple[float, float]:
    """Seconds to the first figure, and the CPU seconds of one hover."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def busy() -> float:
        told = session.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in told if one["name"] == "ProcessTime")

    page.add_init_script(NOTE)
    page.goto(f"{path.as_uri()}#figures")
    opened = page.wait_for_function("window.opened", timeout=60_000).json_value()
    figure = page.locator("figure", has=page.get_by_text("Prefix matching: every head over training"))
    figure.scroll_into_view_if_needed()
    figure.locator("canvas").wait_for(timeout=60_000)
    page.wait_for_timeout(1000)
    box, before = figure.locator("canvas").bounding_box(), busy()
    for number in range(HOVERS):
        page.mouse.move(box["x"] + 200 + 20 * number, box["y"] + 180)
        page.wait_for_selector("#vg-tooltip-element.visible")
        page.wait_for_timeout(50)
    hovered = (busy() - before) / HOVERS
    page.close()
    return opened, hovered
