"""The live page in a real browser: it gains points while a run is stored, and whoever reads it is not disturbed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import uvicorn

from dashboards.page.app import application
from dynamics.store import Store
from test_chart_stores import event_row, write_induction_run
from test_page_following import STEPS, write_steps
from test_report_browser import SCENE, browser, brush, click, draw_all, pytestmark  # noqa: F401 - when to skip

SECONDS = 30_000  # milliseconds, of a busy machine


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a page that is served from another thread."""
    server = uvicorn.Server(uvicorn.Config(application(folder), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def followed(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:  # noqa: F811
    """A page that shows a run, and the run's folder; nothing may complain until the last test is over."""
    folder = write_induction_run(tmp_path_factory.mktemp("page") / "run", failed=False)
    with served(folder) as address:
        page, troubles = browser.new_page(viewport={"width": 1440, "height": 900}), []
        # A refused query is said on the console too, by the browser itself.
        page.on("console", lambda said: None if "Failed to load" in said.text else troubles.append(said.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(f"{address}/runs/run/")
        draw_all(page)
        yield page, folder
        page.close()
        assert not troubles


def figure(page: Any, title: str) -> int:
    """The number of the figure with this title."""
    titles = page.locator("figure h3").all_inner_texts()
    return next(number for number, said in enumerate(titles) if said.startswith(title))


def store_more(folder: Path, step: int) -> None:
    """One more checkpoint of every curve, and an event that the summary tells of."""
    with Store(folder) as store:
        last = store.query("SELECT * FROM measurements WHERE step = (SELECT max(step) FROM measurements)")
        at = store.query("SELECT * FROM checkpoints WHERE step = (SELECT max(step) FROM checkpoints)")
        store.write(measurements=last.with_columns(step=pl.lit(step)), checkpoints=at.with_columns(step=pl.lit(step)))
        found = store.read("events").to_dicts()
        place = {"layer": 0, "head": len(found) % 4}
        found.append(event_row("one-layer", "duplicate_token_attention", 300, 0.03, 0.9, **place))
        store.write_events(pl.DataFrame(found, infer_schema_length=None))


def await_redrawn(page: Any, step: int, figure: int) -> None:
    """Wait until a figure that is seen is the one that the server drew with this step."""
    page.wait_for_function("""([step, figure]) => !report.stale.has(figure)
        && report.views[figure].spec.params.some(({ name, value }) => name === "to_step" && value === step)
        """, arg=[step, figure], timeout=SECONDS)  # fmt: skip


def test_the_page_gains_points_while_a_run_is_stored(
    browser: Any,  # noqa: F811 - the fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "run"
    write_steps(folder, 0, 12, risen=True)
    with served(folder) as address:
        page, troubles = browser.new_page(), []
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(f"{address}/runs/run/")
        page.evaluate("document.getElementById('figures').scrollIntoView()")
        page.wait_for_selector(".plot canvas")
        page.evaluate("window.canvas = document.querySelector('.plot canvas')")
        # What is seen from here on are points, and no figures drawn anew.
        monkeypatch.setattr("dashboards.page.runs.Runs.renew", lambda *_: None)
        write_steps(folder, 12, 14, risen=True)
        page.wait_for_function(
            """step => report.views.some((one) => one && one.view.signal("to_step") === step
               && Object.keys(one.spec.datasets).some((name) =>
                    one.view.data(name).filter((row) => row.step === step).length === 1))
            """,
            arg=int(STEPS[13]), timeout=SECONDS,
        )  # fmt: skip
        assert page.evaluate("canvas.isConnected"), "the points went into the figure that was there"
        assert not troubles
        page.close()


def test_brush_legend_chosen_curve_and_slider_are_kept_when_the_figures_are_drawn_anew(
    followed: tuple[Any, Path],
) -> None:
    page, folder = followed
    brush(page)
    brushed = page.evaluate("report.views[2].view.signal('from_step')")
    page.evaluate("report.mark('two-layer|prefix_matching|L1H0')")
    losses, grid = figure(page, "Loss and in-context"), figure(page, "Where in the model")
    click(page, losses, "item.mark.role === 'legend-symbol'")
    page.wait_for_function(f"report.views[{losses}].view.data('shown_series_store').length === 1", timeout=5000)
    page.evaluate(f"report.views[{grid}].view.signal('turn', 5).run().signal('turn')")
    page.evaluate("document.getElementById('figures').scrollIntoView()")
    store_more(folder, 1100)
    await_redrawn(page, 1100, losses)
    draw_all(page)
    page.wait_for_function("report.stale.size === 0", timeout=SECONDS)
    assert page.evaluate("report.views[2].view.signal('from_step')") == pytest.approx(brushed)
    kept = page.evaluate("Object.values(report.views[0].view.signal('window_0')).concat("
                         "Object.values(report.views[0].view.signal('window_1')))[0]")  # fmt: skip
    assert kept[0] == pytest.approx(brushed, rel=1e-6), "the brush itself stays where it was"
    assert page.evaluate(f"report.views[{losses}].view.data('shown_series_store').length") == 1
    assert page.evaluate(f"report.views[{grid}].view.signal('turn')") == 5
    assert page.evaluate("report.views[3].view.signal('chosen')") == "two-layer|prefix_matching|L1H0"


def test_what_is_unfolded_stays_so_and_the_line_that_is_read_stays_in_its_place(followed: tuple[Any, Path]) -> None:
    page, folder = followed
    page.locator("#summary details.words summary").click()
    page.locator("#summary details.words summary").focus()
    caption = page.locator("figcaption").nth(4)
    caption.evaluate("one => one.scrollIntoView({ block: 'center', behavior: 'instant' })")
    page.wait_for_function("!report.stale.has(4)", timeout=SECONDS)
    before = caption.bounding_box()["y"]
    page.evaluate("window.summary = document.getElementById('summary').innerText")
    store_more(folder, 1200)
    page.wait_for_function("window.summary !== document.getElementById('summary').innerText", timeout=SECONDS)
    await_redrawn(page, 1200, 4)
    assert page.locator("#summary details.words").get_attribute("open") is not None
    assert page.evaluate("document.activeElement.parentElement.className") == "words"
    assert caption.bounding_box()["y"] == pytest.approx(before, abs=3)


def test_sql_is_asked_by_keyboard_and_refused_in_words(followed: tuple[Any, Path]) -> None:
    page, _ = followed
    page.locator("#query textarea").fill("SELECT count(*) AS n, '<b>' AS t FROM events")
    page.locator("#query textarea").press("Control+Enter")
    page.wait_for_selector("#answer td", timeout=SECONDS)
    assert page.locator("#answer").inner_text().split()[:2] == ["n", "t"]
    assert page.locator("#answer td").nth(1).inner_text() == "<b>"
    page.locator("#query textarea").fill("COPY events TO '/tmp/taken.csv'")
    page.locator("#query button").press("Enter")
    page.wait_for_selector("#refused.failed", timeout=SECONDS)
    assert "the query failed" in page.locator("#refused").inner_text()
    page.route("**/query", lambda route: route.abort())
    page.locator("#query button").click()
    page.wait_for_function("document.getElementById('refused').innerText === 'no answer from the server'")
    page.unroute("**/query")


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<svg"), ("json", b"{")])
def test_every_figure_has_links_that_bring_it(followed: tuple[Any, Path], kind: str, start: bytes) -> None:
    page, _ = followed
    links = page.locator(f"figcaption a[href$='.{kind}']")
    assert links.count() == page.locator("figure").count()
    with page.expect_download() as waited:
        links.nth(2).click()
    assert waited.value.suggested_filename == f"run-in_context.{kind}"
    assert Path(waited.value.path()).read_bytes().startswith(start)


def test_a_page_of_a_run_fits_a_narrow_window(followed: tuple[Any, Path]) -> None:
    page, _ = followed
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(400)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.set_viewport_size({"width": 1440, "height": 900})
