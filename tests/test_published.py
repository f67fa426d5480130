"""Published numbers beside a run's own: each way of reading, by hand, and what a report says of them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from dashboards.document import compose, html, markdown
from dashboards.frames import prepare, read_frames
from dashboards.reading import TABLES
from dynamics.errors import UsageError
from dynamics.published import Ours, entries, how, ours
from dynamics.recipe import PublishedEntry, Reading, read_recipe
from test_chart_stores import write_grokking_run
from test_report import Page

ROOT = Path(__file__).resolve().parents[1]


def curve(metric: str, values: list[float | None], series: str = "a", index: int | None = None) -> pl.DataFrame:
    """One value at the steps 0, 10, 20, ..."""
    rows = [{"series": series, "metric": metric, "label": None, "index": index, "step": 10 * i, "value": value}
            for i, value in enumerate(values)]  # fmt: skip
    kinds = {"series": pl.String, "metric": pl.String, "label": pl.String, "index": pl.Int64, "step": pl.Int64,
             "value": pl.Float64}  # fmt: skip
    return pl.DataFrame(rows, schema=kinds)


def event(
    midpoint: float, before: float, after: float, *, kind: str = "transition", scale: str = "linear"
) -> dict[str, object]:
    return {"series": "a", "metric": "loss", "label": None, "index": None, "kind": kind,
            "direction": "up" if after > before else "down", "onset": midpoint - 5, "midpoint": midpoint,
            "completion": midpoint + 5, "lower": midpoint - 1, "upper": midpoint + 1, "before": before,
            "after": after, "scale": scale}  # fmt: skip


EVENTS = pl.DataFrame([event(100, 9, 8), event(200, 8, 1), event(300, 1, 9), event(400, 9, 0, kind="spike"),
                       event(500, 1, 0.1, scale="log")]).cast(
    {"label": pl.String, "index": pl.Int64}
)


def entry(ours: dict[str, object], minus: dict[str, object] | None = None, value: float | str = 1.0) -> PublishedEntry:
    return PublishedEntry(quantity="q", value=value, source="s", ours=Reading(**ours),  # pyright: ignore
                          minus=Reading(**minus) if minus else None)  # pyright: ignore  # fmt: skip


def test_a_run_that_is_still_measured_has_no_events_and_no_scale_of_them() -> None:
    asked = entry({"metric": "loss", "read": "midpoint", "scale": "log"})
    assert ours(asked, curve("loss", [1.0, 2.0]), EVENTS.drop("scale")) == [Ours("a")]
    linear = entry({"metric": "loss", "read": "midpoint", "scale": "linear"})
    assert ours(linear, curve("loss", [1.0, 2.0]), EVENTS.drop("scale"))[0].value == 300.0


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        ({"read": "first"}, Ours("a", 5.0)),
        ({"read": "last"}, Ours("a", 2.0)),
        ({"read": "largest"}, Ours("a", 7.0)),
        ({"read": "smallest"}, Ours("a", 1.0)),
        ({"read": "above", "level": 6}, Ours("a", 20.0, lower=10.0, upper=20.0)),
        ({"read": "below", "level": 6}, Ours("a", 0.0, lower=0.0, upper=0.0)),
        ({"read": "below", "level": 0}, Ours("a")),
        ({"read": "onset", "direction": "down"}, Ours("a", 195.0)),
        ({"read": "midpoint", "direction": "down"}, Ours("a", 200.0, lower=199.0, upper=201.0)),
        ({"read": "midpoint", "direction": "down", "scale": "log"}, Ours("a", 500.0, lower=499.0, upper=501.0)),
        ({"read": "completion"}, Ours("a", 305.0)),  # the largest of either direction; a spike is no transition
    ],
)
def test_each_reading_by_hand(reading: dict[str, object], expected: Ours) -> None:
    curves = curve("loss", [5, 1, 7, None, 2])
    assert ours(entry({"metric": "loss", **reading}), curves, EVENTS) == [expected]


def test_indices_are_listed_counted_and_summed_at_the_last_step() -> None:
    curves = pl.concat([curve("key", [9, 0], index=1), curve("key", [0, 3], index=2), curve("key", [0, 4], index=5)])
    read = {how: ours(entry({"metric": "key", "read": how, "level": 1}), curves, EVENTS)[0]
            for how in ("indices", "count", "sum")}  # fmt: skip
    assert (read["indices"].words, read["count"].value, read["sum"].value) == ("2 5", 2, 7)
    none = ours(entry({"metric": "key", "read": "indices", "level": 8}), curves, EVENTS)[0]
    assert none.words == "none"


def labelled(first_below: dict[str, int | None]) -> pl.DataFrame:
    """Losses of 1 that are 0 from a step on, by label."""
    return pl.concat([
        curve("loss", [1.0 if at is None or 10 * i < at else 0.0 for i in range(10)]).with_columns(label=pl.lit(name))
        for name, at in first_below.items()
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("first_below", "read", "expected"),
    [
        ([10, 20, 30, 40], "order", 1.0),
        ([30, 20, 10], "order", -1.0),
        ([20, 10, 30, 40], "order", 0.8),  # 1 - 6 * 2 / (4 * 15)
        ([10, 20, 30, 40], "growth", 1.0),
        ([10, 40, 90, None], "growth", 2.0),  # squares; what is never learnt says nothing
        ([10, 40, None], "order", None),
        ([0, 40, 50], "growth", None),  # known from the start
    ],
)
def test_what_is_learnt_in_turn_by_hand(first_below: list[int | None], read: str, expected: float | None) -> None:
    curves = labelled({str(number): at for number, at in enumerate(first_below)})
    told = ours(entry({"metric": "loss", "read": read, "level": 0.5}), curves, EVENTS)[0].value
    assert told == (None if expected is None else pytest.approx(expected))


def test_a_lag_has_the_widest_bounds_that_its_ends_allow() -> None:
    curves = pl.concat([curve("train", [0, 1, 1, 1]), curve("test", [0, 0, 0, 1])])
    ends = [{"metric": metric, "read": "above", "level": 0.5} for metric in ("test", "train")]
    assert ours(entry(ends[0], ends[1]), curves, EVENTS) == [Ours("a", 20.0, lower=10.0, upper=30.0)]
    missing = {"metric": "train", "read": "above", "level": 2}
    assert ours(entry(ends[0], missing), curves, EVENTS) == [Ours("a")]


def test_every_series_that_measured_it_is_told_and_no_other() -> None:
    curves = pl.concat([curve("loss", [1, 2], "b"), curve("loss", [3], "a"), curve("other", [3], "c")])
    told = ours(entry({"metric": "loss", "read": "last"}), curves, EVENTS)
    assert told == [Ours("a", 3.0), Ours("b", 2.0)]


def test_the_report_has_the_table_and_says_what_was_not_found(tmp_path: Path) -> None:
    write_grokking_run(tmp_path)
    frames = read_frames(tmp_path)
    listed = [
        entry({"metric": "test_loss", "read": "smallest"}, value=0.5).model_dump(),
        entry({"metric": "test_loss", "read": "above", "level": 1e9}, value="never").model_dump(),
        entry({"metric": "unheard_of", "read": "last"}).model_dump(),
        {"quantity": "someone else's"},
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(frames), "recipe", lambda _: {"published": listed})
        document = compose(frames, "a run")
    (tmp_path / "page.html").write_text(html(document))
    page = Page(tmp_path / "page.html")
    least = frames.curves("test_loss")["value"].min()
    assert isinstance(least, float)
    assert "Published and measured" in page.text
    assert how(Reading(metric="test_loss", read="smallest")) in page.text
    rows = [line for line in markdown(document).splitlines() if line.startswith("| q |")]
    assert len(rows) == 3
    assert f"{least:.3g}"[:4] in rows[0]
    assert "never" in rows[1]
    assert "not found" in rows[1]
    assert "not measured" in rows[2]


def test_without_published_numbers_there_is_no_table(tmp_path: Path) -> None:
    write_grokking_run(tmp_path)
    assert "Published and measured" not in html(compose(read_frames(tmp_path), "a run"))


def test_what_is_no_entry_is_left_out() -> None:
    assert entries({"published": "none"}) == entries({}) == entries({"published": [1, {"value": 2}]}) == []


def test_a_level_that_is_missing_is_refused_when_the_recipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('name = "r"\nmetrics = ["loss"]\n[[published]]\nquantity = "q"\nvalue = 1\nsource = "s"\n'
                    'ours = {metric = "loss", read = "above"}\n')  # fmt: skip
    with pytest.raises(UsageError, match="reading 'above' of 'loss' needs a 'level'"):
        read_recipe(path)


@pytest.mark.parametrize("path", sorted((ROOT / "runs").glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_measures_what_it_holds_beside_the_papers(path: Path) -> None:
    recipe = read_recipe(path)
    read = [reading for entry in recipe.published for reading in (entry.ours, entry.minus) if reading is not None]
    assert {reading.metric for reading in read} <= set(recipe.metrics)


def test_seeds_of_one_run_have_a_table_of_event_steps(tmp_path: Path) -> None:
    write_grokking_run(tmp_path)
    frames = read_frames(tmp_path)
    kept = {"measurements", "events"}
    tables = {name: getattr(frames, name) for name in TABLES if name not in kept}
    seeds = [f"{frames.series_names()[0]}-seed{seed}" for seed in range(3)]
    first = frames.series_names()[0]

    def thrice(frame: pl.DataFrame) -> pl.DataFrame:
        own = frame.filter(pl.col("series") == first)
        return pl.concat([own.with_columns(pl.lit(name).alias("series")) for name in seeds])

    shown = ["place", "curve", "share", "large"]
    tables |= {name: thrice(tables[name]) for name in ("series", "checkpoints")}
    tables["series"] = tables["series"].with_columns(pl.Series("seed", [0, 1, 2]))
    tables["measurements"] = thrice(frames.measurements).drop("place", "curve", "tokens_seen")
    tables["events"] = thrice(frames.events).drop(*shown)
    document = compose(prepare(tables), "seeds")
    (table,) = document.words["comparison"]["tables"]
    assert table.title.startswith("Event steps over seeds")
    assert table.columns[1:4] == seeds
    fall = next(row for row in table.rows if row[0].startswith("Test loss fell"))
    assert fall[1] == fall[2] == fall[3] != "–"
    assert fall[5] == "agree"
    assert "seeds" in [figure.name for figure in document.figures]
