"""The report: what it says, what it contains, what it must not contain."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from dashboards.document import escape_markdown
from dashboards.frames import read_frames
from dashboards.order import order
from dashboards.pictures import inline_json
from dashboards.report import write_report
from dashboards.summary import summarise
from dynamics.store import Store
from test_chart_stores import event_row, metric_row, write_grokking_run, write_induction_run

HOSTILE = "<script>alert('1')</script>\"'&</title></style>\u202eevil|`*[x](javascript:1)"


@pytest.fixture(scope="module")
def induction(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_induction_run(tmp_path_factory.mktemp("induction"))
    write_report(folder)
    return folder


class Page(HTMLParser):
    """The tags of a page with their attributes, and its visible text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._hidden = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag if tag in ("script", "style") else self._hidden

    def handle_endtag(self, tag: str) -> None:
        self._hidden = "" if tag == self._hidden else self._hidden

    def handle_data(self, data: str) -> None:
        self.text += "" if self._hidden else data


def test_the_report_and_its_files_are_written(induction: Path) -> None:
    names = {path.name for path in induction.iterdir()}
    assert {"report.html", "report.md", "events.csv", "measurements.parquet", "figures"} <= names
    for kind in ("png", "svg"):
        assert (induction / "figures" / f"head_trajectories_prefix_matching.{kind}").stat().st_size > 10_000
    assert pl.read_csv(induction / "events.csv").height == 6


def test_the_archive_holds_what_the_store_holds(induction: Path) -> None:
    archived = pl.read_parquet(induction / "measurements.parquet")
    with Store(induction, read_only=True) as store:
        stored = store.read("measurements")
    assert archived.height == stored.height
    assert archived["value"].sum() == pytest.approx(stored["value"].sum())


def test_the_summary_says_what_when_where_and_how_sure(induction: Path) -> None:
    text = " ".join(Page(induction / "report.html").text.replace("\u00a0", " ").split())
    assert "two-layer: previous token attention rose in L0H1 around step 250, prefix matching rose in 3 of 8" in text
    assert "6 of 26 curves over 26 checkpoints changed." in text
    assert "Prefix matching rose in 3 of 8 heads: L1H0, L1H2 and L1H3" in text
    assert "380334–433 0.03 → 0.65 3×10⁻⁶" in text  # midpoint, interval, change and q
    assert "onset 266, completion 570" in text
    markdown = (induction / "report.md").read_text(encoding="utf-8").replace("\u00a0", " ")
    assert "half-way at step 380 (95 % interval 334–433)" in markdown
    assert "q = 3×10⁻⁶ (p &lt; 10⁻⁶)" in markdown
    assert "one-layer: nothing emerged. No change was detected in 14 curves over 27 checkpoints." in text
    assert "first the rise of previous token attention (L0H1) (steps 220–285); then" in text
    assert "tentative" in text
    assert "model.safetensors is truncated" in text
    assert "no change in duplicate token attention" in text


def test_captions_state_task_n_and_seed(induction: Path) -> None:
    text = " ".join(Page(induction / "report.html").text.split())
    assert "Task repeated_tokens (seed 0, 256 examples, hash aa11)" in text
    assert "n = 256 per number. Training seed 0." in text


def test_nothing_is_fetched_from_anywhere(induction: Path) -> None:
    page = Page(induction / "report.html")
    for tag, attributes in page.tags:
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith("#"), (tag, name, value)
    head = next(a for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(head["content"])
    text = (induction / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"cdn\.|jsdelivr|unpkg|googleapis|@import|url\((?!data:|#|'?\"?\s*\+)", _own(text))


def _own(text: str) -> str:
    """The page without the bundled Vega scripts: they name addresses that they never visit."""
    longest = max(re.findall(r"<script>.*?</script>", text, flags=re.DOTALL), key=len)
    return text.replace(longest, "")


def test_markdown_shows_the_same_figures(induction: Path) -> None:
    text = (induction / "report.md").read_text(encoding="utf-8")
    for name in re.findall(r"\(figures/(.+?)\)", text):
        assert (induction / "figures" / name).exists()
    assert text.count("![") == len(list((induction / "figures").glob("*.png")))


def hostile_run(folder: Path) -> Path:
    shared = {"series": HOSTILE, "stage": "", "weights_sha": "w", "task_hash": "t", "version": 1, "run_id": "r"}
    steps = [0, 1, 10, 100]
    with Store(folder) as store:
        store.write(
            series=[{"series": HOSTILE, "source": HOSTILE, "family": HOSTILE}],
            checkpoints=[
                {"series": HOSTILE, "stage": "", "step": step, "revision": HOSTILE, "weights_sha": "w",
                 "status": "failed" if step == 10 else "measured", "note": HOSTILE if step == 10 else None}
                for step in steps
            ],
            metrics=[metric_row(HOSTILE, "layer,head", HOSTILE, HOSTILE), metric_row("loss", title=HOSTILE)],
            tasks=[{"task": HOSTILE, "task_hash": "t", "settings": json.dumps({HOSTILE: HOSTILE})}],
            measurements=[
                {**shared, "metric": metric, "layer": layer, "head": layer, "step": step, "value": float(step)}
                for step in steps for metric, layer in ((HOSTILE, 0), ("loss", None))
            ],
            runs=[{"run_id": "r", "recipe": json.dumps({"title": HOSTILE, "description": HOSTILE}),
                   "versions": json.dumps({HOSTILE: HOSTILE})}],
        )  # fmt: skip
        event = event_row(HOSTILE, HOSTILE, 5, 0.0, 100.0, layer=0, head=0, note=HOSTILE)
        store.write_events(pl.DataFrame([event], infer_schema_length=None))
    return folder


def test_hostile_names_show_as_text(tmp_path: Path) -> None:
    page = Page(write_report(hostile_run(tmp_path / "run"), pictures=False))
    assert sum(tag == "script" for tag, _ in page.tags) == 4
    assert sum(tag == "title" for tag, _ in page.tags) == 1
    assert "<script>alert('1')</script>" in page.text
    markdown = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "<script" not in re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    assert not re.search(r"(?<!\\)\]\(javascript", re.sub(r"```.*?```", "", markdown, flags=re.DOTALL))
    assert "\u202e" not in page.text.split("Provenance")[1]


def test_json_in_a_script_element_cannot_end_it() -> None:
    text = inline_json({"a": "</script><!--<script>", "b": "\u2028&"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--<script>", "b": "\u2028&"}


def test_markdown_escaping() -> None:
    assert escape_markdown("a|b *c* <b>\n# d") == "a\\|b \\*c\\* &lt;b&gt; \\# d"


def test_a_run_without_events_says_so(tmp_path: Path) -> None:
    page = Page(write_report(write_induction_run(tmp_path / "run", events=False, failed=False), pictures=False))
    text = " ".join(page.text.split())
    assert "two-layer: nothing emerged. No change was detected in 26 curves over 27 checkpoints." in text
    assert "Every checkpoint that was asked for was measured" in text


def test_an_empty_store_still_gives_a_report(tmp_path: Path) -> None:
    Store(tmp_path / "run").close()
    assert "No chart fits the metrics of this run." in Page(write_report(tmp_path / "run")).text


def test_the_grokking_report_names_phases_and_key_frequencies(tmp_path: Path) -> None:
    page = Page(write_report(write_grokking_run(tmp_path / "run"), pictures=False, title="My own title"))
    text = " ".join(page.text.split())
    assert "My own title" in text
    assert "Phases: memorisation 0–1,050, circuit formation 1,050–7,800, cleanup 7,800–10,500" in text
    assert "Key frequencies: 14, 35, 41" in text


def test_events_are_ordered_only_across_a_checkpoint() -> None:
    def event(name: str, lower: float, upper: float) -> dict[str, Any]:
        return {"name": name, "lower": lower, "upper": upper}

    events = [event("a", 10, 20), event("b", 30, 40), event("c", 35, 90), event("d", 120, 130)]
    names = [[e["name"] for e in tier] for tier in order(events, [0, 25, 64, 100, 128])]
    assert names == [["a"], ["b", "c"], ["d"]]
    inside_one_gap = [[e["name"] for e in tier] for tier in order(events[:2], [0, 8, 64])]
    assert inside_one_gap == [["a", "b"]]


def test_events_far_apart_in_one_metric_are_told_apart(tmp_path: Path) -> None:
    folder = write_induction_run(tmp_path / "run", events=False)
    with Store(folder) as store:
        events = [
            event_row("two-layer", "prefix_matching", middle, 0.0, 0.5, layer=1, head=head)
            for head, middle in enumerate((50, 52, 800))
        ]
        store.write_events(pl.DataFrame(events, infer_schema_length=None))
    claims = [finding.claim for finding in summarise(read_frames(folder)).findings]
    assert claims == [
        "Prefix matching rose in 2 of 8 heads: L1H0 and L1H1",
        "Prefix matching rose in 1 of 8 heads: L1H2",
    ]


def test_forty_steps_and_thirty_two_heads_stay_under_five_megabytes(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    metrics = [f"score_{number}" for number in range(6)]
    rows = [
        {"series": "model", "stage": "", "step": step, "metric": metric, "layer": head // 8, "head": head % 8,
         "value": draw.normal(), "stderr": draw.random(), "n": 256, "weights_sha": "w", "task_hash": "t", "version": 1}
        for step in range(40) for metric in metrics for head in range(32)
    ]  # fmt: skip
    with Store(tmp_path / "run") as store:
        store.write(measurements=rows, metrics=[metric_row(metric, "layer,head") for metric in metrics])
    assert write_report(tmp_path / "run", pictures=False).stat().st_size < 5_000_000


def test_small_changes_are_told_apart_from_large_ones(tmp_path: Path) -> None:
    folder = write_induction_run(tmp_path / "run", events=False)
    with Store(folder) as store:
        bounds = {"lower": 0.0, "upper": 1.0}
        store.write(metrics=[{**metric_row("prefix_matching", "layer,head", title="Prefix matching"), **bounds}])
        events = [
            event_row("two-layer", "prefix_matching", 100, 0.03, 0.01, layer=0, head=0),
            event_row("two-layer", "prefix_matching", 400, 0.03, 0.60, layer=1, head=0),
        ]
        store.write_events(pl.DataFrame(events, infer_schema_length=None))
    text = " ".join(Page(write_report(folder, pictures=False)).text.split())
    assert "two-layer: prefix matching rose in L1H0 around step 400. Besides: 1 small one." in text
    assert "1 small change, each less than a tenth of its metric's range" in text
    assert "2 of 8 heads change, 1 of them by much" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("bump", "By +0.5 at step 100"),
        ("spike", "By +0.5 at step 100"),
        ("kink", "Its slope changes at step 100"),
        ("plateau", "Near 0.1, around step 100"),
        ("unheard-of", "From 0.1 to 0.6, half-way at step 100"),
    ],
)
def test_every_kind_of_event_has_its_own_words(tmp_path: Path, kind: str, said: str) -> None:
    folder = write_induction_run(tmp_path / "run", events=False)
    with Store(folder) as store:
        event = event_row("two-layer", "loss", 100, 0.1, 0.6, kind=kind, magnitude=0.5)
        store.write_events(pl.DataFrame([event], infer_schema_length=None))
    finding = summarise(read_frames(folder)).findings[0]
    assert finding.detail.startswith(said)
