"""The report in a real browser: it opens from disk, fetches nothing, answers a hover and a brush."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dashboards.compare import compare
from dashboards.report import write_report
from dynamics.store import Store
from test_chart_stores import event_row, metric_row, write_grokking_run, write_induction_run
from test_report import hostile_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need the playwright package")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(write_induction_run(tmp_path_factory.mktemp("run")), pictures=False)


def visit(browser: Any, path: Path, width: int = 1440) -> tuple[Any, list[str]]:
    """The page, and everything that it complained about or asked for beyond its own file."""
    page = browser.new_page(viewport={"width": width, "height": 1000})
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: (troubles.append("dialog"), dialog.dismiss()))
    page.on("request", lambda request: None if request.url.startswith(("file:", "blob:", "data:"))
            else troubles.append(request.url))  # fmt: skip
    page.goto(path.as_uri())
    page.evaluate("document.getElementById('figures').scrollIntoView()")
    page.wait_for_selector(".plot canvas")
    return page, troubles


# Where the items of a figure are on its canvas, those for which `wanted` is true.
SCENE = """((figure, wanted) => {
    const { view } = report.views[figure], found = [], [left, top] = view.origin(), edge = view.padding();
    const walk = (mark, x, y) => mark.items.forEach((item) => {
        const across = x + (item.x || 0), down = y + (item.y || 0);
        if (wanted(item)) found.push([across, down]);
        (item.items || []).forEach((inner) => walk(inner, across, down));
    });
    walk(view.scenegraph().root, left + edge.left, top + edge.top);
    return found;
})"""


def click(page: Any, figure: int, wanted: str) -> None:
    """Click with the pointer on the first item of a figure for which `wanted`, a test of `item`, is true."""
    page.locator(".plot").nth(figure).scroll_into_view_if_needed()
    across, down = page.evaluate(f"{SCENE}({figure}, (item) => {wanted})[0]")
    box = page.locator(".plot").nth(figure).locator("canvas").bounding_box()
    page.mouse.click(box["x"] + across, box["y"] + down)


def draw_all(page: Any) -> None:
    for index in range(page.locator(".plot").count()):
        page.locator(".plot").nth(index).scroll_into_view_if_needed()
        page.locator(".plot").nth(index).locator("canvas").wait_for()
        page.wait_for_function("index => !report.stale.has(index)", arg=index)


@pytest.mark.parametrize("width", [1440, 390])
def test_it_opens_from_disk_without_a_complaint_or_a_request(browser: Any, report: Path, width: int) -> None:
    page, troubles = visit(browser, report, width)
    draw_all(page)
    assert troubles == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def long_titles(folder: Path) -> Path:
    with Store(folder) as store:
        store.query("UPDATE metrics SET title = 'What is measured, at greater length than fits a phone: ' || metric")
    return folder


# Of the labels of a figure's axes those that are cut: wider than they may be.
CUT = """((figure) => {
    const found = [], pen = document.createElement("canvas").getContext("2d");
    const walk = (mark) => mark.items.forEach((item) => {
        pen.font = `${item.fontSize}px ${item.font}`;
        const lines = mark.role === "axis-label" ? [].concat(item.text || "") : [];
        if (lines.some((line) => pen.measureText(line).width > item.limit)) found.push(lines);
        (item.items || []).forEach(walk);
    });
    walk(report.views[figure].view.scenegraph().root);
    return found;
})"""


@pytest.mark.parametrize("write", [write_induction_run, write_grokking_run])
def test_long_titles_are_broken_and_names_whole_on_a_phone(browser: Any, tmp_path: Path, write: Any) -> None:
    page, troubles = visit(browser, write_report(long_titles(write(tmp_path / "run")), pictures=False), 390)
    draw_all(page)
    assert troubles == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    titles = page.locator("figure h3").all_inner_texts()
    named = [number for number, said in enumerate(titles) if said in ("What changed when", "Which change came first")]
    assert named
    assert [page.evaluate(f"{CUT}({number})") for number in named] == [[]] * len(named)


def test_what_is_printed_is_light_unfolded_and_drawn_without_a_reader(browser: Any, report: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(f"{report.as_uri()}#print")
    page.wait_for_function("report.stale.size === 0", timeout=30_000)
    assert page.evaluate("document.documentElement.dataset.shade") == "light"
    folded = page.locator(":is(#summary, #provenance) details:not([open]) > summary").all_inner_texts()
    assert [title for title in folded if not title.startswith("Checkpoints")] == []
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 680, "height": 1000})  # A4 between its margins: what is wider would shrink it all
    assert page.evaluate("document.documentElement.scrollWidth") <= 680
    page.evaluate("document.querySelector('.plot canvas').height = 9000")  # as of a timeline of a hundred changes
    assert page.locator(".plot canvas").first.bounding_box()["height"] < 220 / 25.4 * 96 + 1, "no page holds more"
    page.close()


def test_events_in_two_series_share_one_timeline(browser: Any, tmp_path: Path) -> None:
    folder = write_induction_run(tmp_path / "run", events=False)
    with Store(folder) as store:
        events = [event_row(series, "loss", 90, 4.0, 3.0) for series in ("two-layer", "one-layer")]
        events.append(event_row("one-layer", "prefix_matching", 300, 0.03, 0.3, layer=0, head=1))
        store.write_events(pl.DataFrame(events, infer_schema_length=None))
    page, troubles = visit(browser, write_report(folder, pictures=False))
    draw_all(page)
    assert troubles == []
    canvas = page.locator(".plot").first.locator("canvas").bounding_box()
    page.mouse.click(canvas["x"] + canvas["width"] * 0.7, canvas["y"] + 40)


def test_hostile_names_run_nothing(browser: Any, tmp_path: Path) -> None:
    page, troubles = visit(browser, write_report(hostile_run(tmp_path / "run"), pictures=False))
    draw_all(page)
    assert troubles == []
    assert "<script>" in page.inner_text("#summary")  # as text
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_hover_says_which_head_and_step(browser: Any, report: Path) -> None:
    page, _ = visit(browser, report)
    figure = page.locator("figure", has=page.get_by_text("Prefix matching: every head over training"))
    figure.scroll_into_view_if_needed()
    box = figure.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.move(box["x"] + 210, box["y"] + 205, steps=4)
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    told = dict(re.findall(r"(\w[\w ]*)\t\n(\S+)", tooltip.inner_text()))
    layer, head = re.fullmatch(r"L(\d)H(\d)", told["where"]).groups()  # pyright: ignore[reportOptionalMemberAccess]
    with Store(report.parent, read_only=True) as store:
        stored = store.read("measurements").filter(
            pl.col("metric") == "prefix_matching", pl.col("series") == told["series"], pl.col("layer") == int(layer),
            pl.col("head") == int(head), pl.col("step") == int(told["step"].replace(",", "")),
        )  # fmt: skip
    assert float(told["Prefix matching"]) == pytest.approx(stored["value"].item(), rel=1e-3)
    assert float(told["standard error"]) == pytest.approx(stored["stderr"].item(), rel=1e-3)


def write_layers(folder: Path) -> Path:
    """A run with one score in three layers of two heads, of which the last one rises."""
    shared = {"series": "model", "stage": "", "metric": "prefix_matching", "version": 1, "stderr": 0.01, "n": 64}
    with Store(folder) as store:
        store.write(
            metrics=[metric_row("prefix_matching", "layer,head", title="Prefix matching")],
            measurements=[{**shared, "layer": layer, "head": head, "step": step,
                           "value": 0.1 * layer + (layer == 2) * (step > 20)}
                          for layer in range(3) for head in range(2) for step in range(0, 50, 5)],
        )  # fmt: skip
        store.write_events(pl.DataFrame([event_row("model", "prefix_matching", 22, 0.2, 1.2, layer=2, head=0)]))
    return folder


# Titles of figures, what a pointer can be over in them, and what must be said of it.
TOLD = [
    ("What changed when", "symbol", {"series", "metric", "where", "midpoint", "lower", "upper", "q_value"}),
    ("What changed when", "rule", {"series", "metric", "where", "onset", "completion"}),
    ("Prefix matching: every head over", "line", {"where", "step", "Prefix matching", "standard error", "n"}),
    ("Prefix matching: every head, layer", "line", {"where", "step", "Prefix matching", "standard error", "n"}),
    ("Where in the model", "rect", {"layer", "head", "step", "value", "standard error"}),
]


@pytest.fixture(scope="module")
def layered(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page with the charts of heads in layers, all drawn."""
    page, troubles = visit(browser, write_report(write_layers(tmp_path_factory.mktemp("layers")), pictures=False))
    draw_all(page)
    yield page
    page.close()
    assert troubles == []


@pytest.mark.parametrize(("title", "kind", "said"), TOLD)
def test_a_hover_tells_where_when_how_much_and_how_sure(layered: Any, title: str, kind: str, said: set[str]) -> None:
    titles = layered.locator("figure h3").all_inner_texts()
    figure = next(number for number, text in enumerate(titles) if text.startswith(title))
    layered.locator(".plot").nth(figure).scroll_into_view_if_needed()
    own = f"item.mark.marktype === '{kind}' && item.mark.role === 'mark' && item.datum && item.opacity !== 0"
    if kind == "rule":  # left of its bar, which lies on it
        own += " && item.datum.onset"
    across, down = layered.evaluate(f"{SCENE}({figure}, (item) => {own})[0]")
    box = layered.locator(".plot").nth(figure).locator("canvas").bounding_box()
    layered.mouse.move(box["x"] + across + 9, box["y"] + down + 9)
    layered.mouse.move(box["x"] + across + 2, box["y"] + down)
    tooltip = layered.locator("#vg-tooltip-element.visible")
    tooltip.wait_for(timeout=5000)
    assert said <= set(re.findall(r"(\w[\w ]*)\t\n", tooltip.inner_text()))
    layered.mouse.move(1, 1)
    tooltip.wait_for(state="hidden")


def brush(page: Any) -> None:
    """Drag over the right part of the timeline, and wait until another figure has followed."""
    timeline = page.locator(".plot").first
    timeline.scroll_into_view_if_needed()
    box = timeline.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.4, steps=5)
    page.mouse.up()
    page.wait_for_function("report.views[2].view.signal('from_step') > 1", timeout=5000)


def test_a_brush_on_the_timeline_narrows_the_other_figures(browser: Any, report: Path) -> None:
    page, _ = visit(browser, report)
    draw_all(page)
    before = page.evaluate("report.views[2].view.signal('from_step')")
    brush(page)
    assert before == 0
    assert page.evaluate("report.views[3].view.signal('to_step')") < 1000


def test_a_click_on_an_event_marks_its_curve_everywhere(browser: Any, report: Path) -> None:
    page, _ = visit(browser, report)
    draw_all(page)
    curve = "two-layer|prefix_matching|L1H0"
    click(page, 0, f"item.datum && item.datum.curve === {curve!r} && item.shape === 'triangle-up'")
    page.wait_for_function("curve => report.views[3].view.signal('chosen') === curve", arg=curve, timeout=5000)
    thick = f"item.datum && item.datum.curve === {curve!r} && item.strokeWidth > 3"
    widths = page.evaluate(f"{SCENE}(3, (item) => {thick})")
    assert widths, "the curve is no thicker than before"
    click(page, 0, f"item.datum && item.datum.curve === {curve!r} && item.shape === 'triangle-up'")
    page.wait_for_function("report.views[3].view.signal('chosen') === ''", timeout=5000)


@pytest.mark.parametrize(("title", "selection"), [
    ("Grokking: progress measures and phases", "shown_near_0_0"), ("The path of training in the plane", "shown_path")])
def test_a_click_in_a_legend_shows_one_curve_alone(browser: Any, report: Path, tmp_path: Path, title: str,
                                                   selection: str) -> None:  # fmt: skip
    page, troubles = visit(browser, write_report(write_grokking_run(tmp_path), pictures=False)
                           if title.startswith("Grokking") else report)  # fmt: skip
    draw_all(page)
    titles = page.locator("figure h3").all_inner_texts()
    figure = next(number for number, said in enumerate(titles) if said.startswith(title))
    click(page, figure, "item.mark.role === 'legend-symbol'")
    page.wait_for_function(f"report.views[{figure}].view.data('{selection}_store').length === 1", timeout=5000)
    faint = page.evaluate(f"{SCENE}({figure}, (item) => item.mark.marktype === 'line' && item.opacity < 0.1)")
    assert faint, "the other curve is as strong as before"
    assert troubles == []


@pytest.mark.parametrize("axis", ["linear", "tokens"])
def test_the_step_axis_can_be_changed(browser: Any, report: Path, axis: str) -> None:
    page, troubles = visit(browser, report)
    page.select_option("#axis", axis)
    draw_all(page)
    assert troubles == []
    assert page.evaluate("report.views[2].view.signal('to_step')") == (1000 if axis == "linear" else 2_048_000)


def test_a_click_in_the_legend_shows_one_model_in_every_panel(browser: Any, tmp_path: Path) -> None:
    folders = [write_induction_run(tmp_path / name, failed=False) for name in ("a", "b")]
    page, troubles = visit(browser, compare(folders, tmp_path / "out", pictures=False))
    draw_all(page)
    view = "report.views[0].view"
    page.locator(".plot").first.scroll_into_view_if_needed()
    box = page.locator(".plot").first.locator("canvas").bounding_box()
    stored = f"{view}.data('shown_step_store').length"
    for right, down in itertools.product(range(50, 130, 10), range(4, 40, 4)):  # the first name of the legend, on top
        if page.evaluate(stored) == 0:
            page.mouse.click(box["x"] + right, box["y"] + down)
            page.wait_for_timeout(30)
    assert page.evaluate(stored) == 1
    assert troubles == []
