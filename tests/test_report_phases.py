"""Named phase changes and what emerged together, in words: found, found in part, not found, not measured."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from dashboards.frames import Frames, read_frames
from dashboards.phases import phases
from dashboards.summary import summarise
from dynamics.store import Store
from test_chart_stores import event_row, write_grokking_run, write_induction_run


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def rewritten(folder: Path, events: list[dict[str, object]]) -> Frames:
    with Store(folder) as store:
        store.write_events(pl.DataFrame(events, infer_schema_length=None))
    return read_frames(folder)


def test_the_first_paragraph_says_what_emerged_when_how_sure_and_what_did_not(tmp_path: Path) -> None:
    lead = plain(summarise(read_frames(write_induction_run(tmp_path / "run"))).lead)
    assert lead == (
        "Induction heads formed in two-layer: a head matches prefixes at step 380 (95 % interval 334–433, "
        "q = 3×10⁻⁶), in-context score falls at step 400 (95 % interval 352–456, q = 3×10⁻⁶). "
        "Not found in one-layer, though looked for in the same way."
    )


def test_every_part_is_found_or_not_found_or_not_measured(tmp_path: Path) -> None:
    found = summarise(read_frames(write_induction_run(tmp_path / "run"))).phases
    assert [(p.series, p.rule, p.verdict()) for p in found] == [
        ("two-layer", "induction heads form", "found"),
        ("one-layer", "induction heads form", "not found"),
    ]
    parts = {part.name: part for part in found[0].parts}
    assert plain(parts["a head matches prefixes"].where) == "prefix matching in L1H0, the surest of 3 changes that fit"
    assert parts["heads attend to the previous token first"].status == "found"
    assert {part.status for part in found[1].parts} == {"not found"}


def test_a_part_alone_is_not_the_phase_change(tmp_path: Path) -> None:
    folder = write_induction_run(tmp_path / "run", events=False)
    events = [event_row("two-layer", "prefix_matching", 400, 0.03, 0.6, layer=1, head=0)]
    summary = summarise(rewritten(folder, events))
    assert "two-layer shows only a part: “a head matches prefixes” at step 400" in plain(summary.lead)
    assert "but not “in-context score falls”" in summary.lead
    assert summary.phases[0].verdict() == "not found"


def test_a_part_that_was_not_measured_leaves_it_open(tmp_path: Path) -> None:
    folder = write_grokking_run(tmp_path / "run")
    with Store(folder) as store:
        for table in ("measurements", "events"):
            store.query(f"DELETE FROM {table} WHERE metric IN ('train_loss', 'train_accuracy')")
    summary = summarise(read_frames(folder))
    grokking = next(phase for phase in summary.phases if phase.rule == "grokking")
    assert grokking.verdict() == "not decided: a part was not measured"
    assert "Grokking" not in summary.lead


def test_grokking_is_named_with_its_parts(tmp_path: Path) -> None:
    summary = summarise(read_frames(write_grokking_run(tmp_path / "run")))
    assert "Grokking took place: the training set is fitted at step 700" in plain(summary.lead)


def test_what_emerged_together_is_told_without_an_order(tmp_path: Path) -> None:
    folder = write_induction_run(tmp_path / "run", events=False)
    events = [
        event_row("two-layer", "prefix_matching", 400 + head, 0.03, 0.6, layer=layer, head=head)
        for layer in (0, 1) for head in range(4)
    ]  # fmt: skip
    together = summarise(rewritten(folder, events)).together
    assert len(together) == 1
    assert plain(together[0].text).startswith("8 of the 8 curves with a change have one between steps 400–403")
    assert "prefix matching in 8 places" in together[0].text
    assert "The checkpoints do not tell which of them came first." in together[0].text


def test_maps_along_an_index_are_not_counted_as_examined(tmp_path: Path) -> None:
    summary = summarise(read_frames(write_induction_run(tmp_path / "run")))
    assert summary.unexamined == "loss by position (126 curves)"
    assert not any("loss by position" in remark.text for remark in summary.absent)


def test_a_spike_has_no_place_in_the_order(tmp_path: Path) -> None:
    folder = write_induction_run(tmp_path / "run", events=False)
    events = [
        event_row("two-layer", "loss", 50, 4.0, 3.0),
        event_row("two-layer", "loss", 200, 3.0, 4.0, kind="spike", lower=10, upper=900),
        event_row("two-layer", "in_context_learning_score", 400, -0.1, -2.0),
    ]
    orders = summarise(rewritten(folder, events)).orders
    assert orders[0].text.startswith("first the fall of loss (steps 44–57); then the fall of in context")


def test_a_run_that_has_not_finished_says_nothing_about_what_emerged(tmp_path: Path) -> None:
    """Changes are looked for at the end: until then their absence from the store means nothing."""
    folder = write_induction_run(tmp_path / "run", events=False)
    assert summarise(read_frames(folder)).lead.startswith("Looked for and not found: induction heads form")
    with Store(folder) as store:
        store.query("UPDATE runs SET finished = NULL")
    summary = summarise(read_frames(folder))
    assert summary.lead == "The run has not finished: what emerged is decided at its end."
    assert (summary.headlines, summary.absent) == ([], [])


def test_phases_are_read_off_falls_and_not_off_bends(tmp_path: Path) -> None:
    folder = write_grokking_run(tmp_path / "run")
    whole = phases(read_frames(folder), "addition")
    bend = event_row("addition", "test_loss", 8000, 19.0, 1e-9, onset=8000, completion=8000) | {"kind": "kink"}
    with Store(folder) as store:
        events = [*store.read("events").to_dicts(), bend]
    assert phases(rewritten(folder, events), "addition") == whole
    assert [phase.name for phase in whole[0]] == ["memorisation", "circuit formation", "cleanup"]
