"""What can be measured of a model, from its configuration alone: every family's way as the kernels then take it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from conftest import tiny_model as small_transformer
from dynamics.availability import FAST, WHOLE, attention_way, metrics_of
from dynamics.cli import app
from dynamics.demo import tokenizer
from dynamics.errors import UsageError
from dynamics.training import save
from hub_series import REPO, publish
from hub_stand_in import StandIn
from saved_models import configuration
from test_attention_families import VARIANTS, model, readings


def row(table: pl.DataFrame, metric: str) -> dict[str, str]:
    return table.row(by_predicate=pl.col("metric") == metric, named=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_way_foretold_is_the_way_taken(variant: str) -> None:
    way, _ = attention_way(model(variant))
    sites, _ = readings(variant)
    assert {site.exact_pattern is not None for site in sites} == {way == WHOLE}


def test_each_way_says_why() -> None:
    reasons = {variant: attention_way(model(variant)) for variant in ("llama", "mistral", "gemma2", "gpt_oss", "bloom")}
    assert reasons["llama"] == (FAST, "the fused kernel gives the log-sum-exp of every query")
    assert reasons["mistral"][1].endswith("under a mask for its windows")
    assert reasons["gemma2"] == (WHOLE, "scores are soft-capped at 50.0")
    assert reasons["gpt_oss"] == (WHOLE, "learned sinks take part in the softmax")
    assert reasons["bloom"][1].startswith("the code of bloom computes attention itself")


def test_a_folder_with_no_weights_is_enough(tmp_path: Path) -> None:
    save(small_transformer(), tmp_path / "step0", tokenizer())
    (tmp_path / "step0" / "model.safetensors").write_bytes(b"never read")
    for place in (tmp_path, tmp_path / "step0"):
        table = metrics_of(str(place))
        assert row(table, "prefix_matching")["measured"] == "yes"
        assert row(table, "weight_norm")["way"] == "weights"
        assert row(table, "loss")["measured"] == "yes"
        refused = row(table, "restricted_loss")
        assert refused["measured"] == "no"
        assert refused["why"] == "the model has nothing for site 'W_out'"  # it has attention alone


def test_what_the_family_has_not_is_said(tmp_path: Path) -> None:
    configuration("bert").save_pretrained(tmp_path)
    table = metrics_of(str(tmp_path))
    assert "'W_O' is not mapped for model family 'bert'" in row(table, "copying_eigenvalues")["why"]
    assert "no tokenizer.json" in row(table, "loss")["why"]


@pytest.mark.parametrize("variant", ["gpt2", "bloom"])
def test_heads_can_be_silenced_where_attention_can_be_replaced(variant: str, tmp_path: Path) -> None:
    config = configuration(variant)
    config.vocab_size = 100  # as many as the tokenizer has, and more
    config.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(tokenizer().to_str(), "utf-8")
    told = row(metrics_of(str(tmp_path)), "loss_from_heads")
    if variant == "gpt2":
        assert (told["measured"], told["why"].rpartition("; ")[2]) == ("yes", "give 'heads' of [tasks.ablation]")
    else:
        assert (told["measured"], told["way"]) == ("no", "")
        assert "'bloom' computes its attention in its own way, so no head can be silenced" in told["why"]


def test_a_repo_is_asked_for_its_configuration_and_not_for_its_weights(hub: StandIn) -> None:
    publish(hub, steps=(0, 1))
    assert row(metrics_of(f"hub:{REPO}"), "prefix_matching")["measured"] == "yes"
    assert not hub.requests("GET", "safetensors")


def test_without_a_configuration_nothing_can_be_told(tmp_path: Path) -> None:
    (tmp_path / "1000.pt").write_bytes(b"")
    with pytest.raises(UsageError, match=r"no config\.json"):
        metrics_of(str(tmp_path))


def test_the_command_lists_it(tiny_series: Path) -> None:
    told = CliRunner().invoke(app, ["list", "metrics", "--model", f"folder:{tiny_series}"])
    assert told.exit_code == 0
    assert "log-sum-exp" in told.stdout
