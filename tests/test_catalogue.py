"""The public series: what each entry says, and how the names of its checkpoints are read."""

from __future__ import annotations

import re
from itertools import product

import pytest
from rich.console import Console

import dynamics
from dynamics import listing
from dynamics.checkpoint import Checkpoint
from dynamics.cli import list_names
from dynamics.sources import catalogue
from dynamics.sources.names import read_name
from hub_series import files_of
from hub_stand_in import StandIn


def test_the_catalogue_entry_of_a_repo_is_used_for_the_repo_too(hub: StandIn) -> None:
    repo = hub.repo("EleutherAI/pythia-14m")
    for step in (0, 1, 1000):
        repo.commit(files_of(step), branch=f"step{step}")
    named, by_repo = dynamics.open_series("pythia-14m"), dynamics.open_series("hub:EleutherAI/pythia-14m")
    assert named.checkpoints == tuple(Checkpoint("pythia-14m", c.step, "", c.tokens_seen, c.revision)
                                      for c in by_repo.checkpoints)  # fmt: skip
    assert [c.tokens_seen for c in named.checkpoints] == [0, 2_097_152, 2_097_152_000]


def test_every_recipe_of_datadecide_is_listed_and_refused_with_the_reason() -> None:
    found = [entry for entry in catalogue.entries().values() if entry.repo.startswith("allenai/DataDecide-")]
    assert len({entry.repo.rsplit("-", 1)[0] for entry in found}) == 25
    assert len({entry.repo.rsplit("-", 1)[1] for entry in found}) == 14
    assert len({entry.repo for entry in found}) == 25 * 14
    assert all("hf_olmo" in entry.refused for entry in found)


def test_every_entry_of_the_catalogue_says_what_a_person_needs() -> None:
    entries = catalogue.entries()
    assert len(entries) > 150
    for entry in entries.values():
        assert entry.licence, entry.name
        assert entry.pattern or entry.places, entry.name
        assert entry.family or entry.refused, entry.name


@pytest.mark.parametrize(
    ("name", "label", "stage", "step", "tokens"),
    [
        ("pythia-160m", "step143000", "", 143000, None),
        ("olmo-1b", "step738020-tokens3095B", "", 738020, 3095 * 10**9),
        ("olmo-2-7b", "step150-tokens1B", "", 150, 10**9),
        ("olmo-2-7b-ingredient3", "stage2-ingredient3-step11931-tokens51B", "stage2-ingredient3", 11931, 51 * 10**9),
        ("olmo-3-7b", "stage3-step11921", "stage3", 11921, None),
        ("amber", "ckpt_003", "", 3, None),
        ("crystal", "CrystalCoder_phase2_checkpoint_003000", "phase2", 3000, None),
        ("bloom-560m", "global_step100000", "", 100000, None),
        ("mistral-alias-gpt2-small-x21", "checkpoint-400000", "", 400000, None),
        ("multiberts-seed2", "google/multiberts-seed_2-step_1900k", "", 1_900_000, None),
        ("smollm3-3b", "lc-4k-to-32k-step-20000", "lc-4k-to-32k", 20000, None),
        ("apertus-8b", "step2627139-tokens15T", "", 2627139, 15 * 10**12),
        ("comma-v0.1-1t", "stage1-step010000-tokens20B", "stage1", 10000, 20 * 10**9),
        ("pico-tiny", "Saving HF Model -- Step 1000", "", 1000, None),
        ("neo-scalinglaw-250M", "hf_ckpt/16.78B", "", 16_780_000_000, 16_780_000_000),
        ("toy-GELU-1L512W", "checkpoints/tokens_000000262144.pth", "", 262144, 262144),
        ("ablation-the-pile", "step-001000-2BT", "", 1000, 2 * 10**9),
    ],
)  # fmt: skip
def test_real_names_are_read(name: str, label: str, stage: str, step: int, tokens: int | None) -> None:
    read = read_name(label, catalogue.find(name).pattern or "")
    assert read is not None
    assert (read.stage, read.step, read.tokens) == (stage, step, tokens)
    assert read_name("main", catalogue.find(name).pattern or "") is None


def branches(hub: StandIn, repo: str, *names: str) -> None:
    for name in names:
        hub.repo(repo).commit({"model.safetensors": name.encode()}, branch=name)


def places(series: dynamics.Series) -> list[tuple[str, int, int | None]]:
    return [(c.stage, c.step, c.tokens_seen) for c in series.checkpoints]


def test_stages_follow_each_other_on_the_axis_of_tokens(hub: StandIn) -> None:
    """Names of OLMo-2's second stage count from its start; an event there must not be dated into the first."""
    branches(hub, "allenai/OLMo-2-1124-7B", "main", "stage1-step928646-tokens3896B", "step150-tokens1B",
             "stage1-step1000-tokens5B", "stage2-ingredient1-step1000-tokens5B",
             "stage2-ingredient1-step11931-tokens51B", "stage2-ingredient2-step1000-tokens5B")  # fmt: skip
    end, each = 928_646 * 4_194_304, 4_194_304
    series = dynamics.open_series("olmo-2-7b")
    assert places(series) == [
        ("stage1", 150, 150 * each), ("stage1", 1000, 1000 * each), ("stage1", 928_646, end),
        ("stage2-ingredient1", 1000, end + 1000 * each), ("stage2-ingredient1", 11_931, end + 11_931 * each),
    ]  # fmt: skip
    assert not series.left_out
    assert series.ignored == ("main", "stage2-ingredient2-step1000-tokens5B")
    other = dynamics.open_series("olmo-2-7b-ingredient2")
    assert places(other)[-1] == ("stage2-ingredient2", 1000, end + 1000 * each)
    assert places(dynamics.open_series("hub:allenai/OLMo-2-1124-7B")) == places(series)


def test_names_that_count_through_all_stages_agree_too(hub: StandIn) -> None:
    branches(hub, "common-pile/comma-v0.1-1t", "stage1-step460000-tokens965B", "stage2-step018000-tokens1002B")
    series = dynamics.open_series("comma-v0.1-1t")
    assert places(series)[-1] == ("stage2", 18000, (460_000 + 18_000) * 2_097_152)
    assert not series.left_out


def test_a_stage_of_unknown_beginning_has_no_place_among_tokens(hub: StandIn) -> None:
    branches(hub, "swiss-ai/Apertus-8B-2509", "step2627139-tokens15T", "step50000-tokens210B", "longctx-step50")
    assert places(dynamics.open_series("apertus-8b")) == [
        ("", 50_000, 210 * 10**9), ("", 2_627_139, 15 * 10**12), ("longctx", 50, None),
    ]  # fmt: skip
    branches(hub, "acme/unknown", *(f"stage{s}-step{n}000-tokens{4 * n}B" for s in (1, 2) for n in (1, 2, 3, 4)))
    found = dynamics.open_series("hub:acme/unknown")
    assert [tokens is None for _, _, tokens in places(found)] == [False] * 4 + [True] * 4
    assert not found.left_out


def test_the_first_token_is_the_tokenizers_where_the_configuration_names_another(hub: StandIn) -> None:
    branches(hub, "common-pile/comma-v0.1-1t", "stage1-step010000-tokens21B")
    series = dynamics.open_series("comma-v0.1-1t")
    assert series.describe(series.checkpoints[0]).bos == 2


def test_a_tokenizer_of_another_repo_is_taken_where_the_series_own_do_not_load(hub: StandIn) -> None:
    hub.repo("bigscience/bloom-560m-intermediate").commit(files_of(0), tag="global_step1000")
    hub.repo("bigscience/bloom-560m-intermediate").commit({"README.md": b""}, branch="main")
    hub.repo("bigscience/bloom-560m").commit({"tokenizer.json": b"{}"}, branch="main")
    series = dynamics.open_series("bloom-560m")
    tokenizer = series.describe(series.checkpoints[0]).tokenizer
    assert tokenizer is not None
    assert tokenizer.read_bytes() == b"{}"


def test_a_person_reads_one_row_for_each_rule_and_every_name_is_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = listing.series_by_rule()
    assert len(rows) < 60 < len(listing.series())
    spelt = []
    for names in rows["series"]:
        parts = [part.split(", ") for part in re.split(r"[{}]", names)]
        spelt += ["".join(chosen) for chosen in product(*parts)]
    assert sorted(spelt) == sorted(catalogue.entries())
    about = dict(rows.rows())
    assert "licence Apache-2.0; refused: its checkpoints are raw Megatron files" in about["neo-7b"]
    assert "needs --trust-remote-code" in about["crystal"]
    shown = Console(record=True, force_terminal=True, width=100)
    for place in ("dynamics.terminal.out_console", "dynamics.cli.out_console"):
        monkeypatch.setattr(place, shown)
    list_names("series")
    text = shown.export_text()
    assert "pythia-{14m, 31m, 70m" in text
    assert "has every name on a line" in text
