"""What every metric must have, and what the contract refuses."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import metrics
from metrics import METRICS, contract
from metrics.attention import Attention
from metrics.contract import metric

TESTS = Path(__file__).parent
PARTS = ("**Definition.**", "**Reads.**", "**Returns**", "**Source.**", "**Example.**")


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A registry of the test's own, so that what it registers is gone afterwards."""
    own = dict(METRICS)
    monkeypatch.setattr(contract, "_METRICS", own)
    return own


def register(function: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
    return metric(title="A title", unit="nats", source="a paper", **settings)(function)


def test_the_package_is_ours_and_not_a_strangers() -> None:
    assert Path(metrics.__file__).is_relative_to(TESTS.parent)


@pytest.mark.parametrize("name", METRICS)
def test_docstring_has_every_part_in_order(name: str) -> None:
    text = inspect.getdoc(METRICS[name].function) or ""
    places = [text.find(part) for part in PARTS]
    assert -1 not in places, f"{name} lacks {PARTS[places.index(-1)]}"
    assert places == sorted(places)
    assert text.splitlines()[0].endswith("?"), f"{name}: the first line asks the question that the metric answers"
    example = text[places[-1] :]
    assert ">>>" in example or "tests/test_metric_" in example, f"{name}: the example is run, or points to its test"


@pytest.mark.parametrize("name", METRICS)
def test_a_test_names_it(name: str) -> None:
    used = [path.name for path in TESTS.glob("test_metric_*.py") if re.search(rf"\b{name}\b", path.read_text("utf-8"))]
    assert set(used) - {Path(__file__).name}, f"no tests/test_metric_*.py names {name}"


@pytest.mark.parametrize("name", METRICS)
def test_parameters_are_annotated_and_facts_are_complete(name: str) -> None:
    known = METRICS[name]
    signature = inspect.signature(known.function)
    assert all(p.annotation is not p.empty for p in signature.parameters.values())
    assert all((known.title, known.unit, known.source))
    assert known.version >= 1
    if known.lower is not None and known.upper is not None:
        assert known.lower < known.upper


def test_a_misspelt_site_names_the_one_that_was_meant() -> None:
    def misspelt(token_los: torch.Tensor) -> torch.Tensor:
        return token_los

    with pytest.raises(ValueError, match="reads 'token_los', which is no site; did you mean 'token_loss'"):
        register(misspelt, task="text")


def test_an_unknown_name_without_a_task_lists_the_sites() -> None:
    def unknown(banana: torch.Tensor) -> torch.Tensor:
        return banana

    with pytest.raises(ValueError, match=r"reads 'banana', which is no site; the sites are attention, .*weights"):
        register(unknown)


def test_activations_need_a_task() -> None:
    def homeless(logits: torch.Tensor) -> torch.Tensor:
        return logits

    with pytest.raises(ValueError, match="reads 'logits' but names no task"):
        register(homeless)


def test_two_metrics_of_one_name_are_refused() -> None:
    def loss(token_loss: torch.Tensor) -> torch.Tensor:
        return token_loss

    with pytest.raises(ValueError, match=r"'loss' is defined twice: in metrics.language_loss and in test_metric_con"):
        register(loss, task="text")


def test_an_axis_that_the_store_has_not() -> None:
    def odd(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.ones(len(weights))

    with pytest.raises(ValueError, match=r"axes \['neuron'\]; the store has layer, head, index, label"):
        register(odd, axes=("neuron",))
    with pytest.raises(ValueError, match=r"has labels \('all',\) but no 'label' axis; its axes are \(\)"):
        register(odd, labels=("all",))


def test_attention_comes_by_layer_and_by_example() -> None:
    def whole(attention: Attention) -> torch.Tensor:
        return attention.lse

    with pytest.raises(ValueError, match="its first axis must be 'layer'"):
        register(whole, task="text", axes=("head",))


def test_reads_are_split_into_sites_fields_and_references(registry: dict[str, Any]) -> None:
    def both(W_E: torch.Tensor, W_U_final: torch.Tensor, p: int) -> torch.Tensor:
        return W_E + W_U_final * p

    register(both, task="modular_addition")
    known = registry["both"]
    assert known.sites() == {"W_E"}
    assert known.sites("_final") == {"W_U"}
    assert known.fields() == {"p"}
    assert known.references == {"final"}


def test_the_checkpoint_before_and_the_one_before_that(registry: dict[str, Any]) -> None:
    def moved(weights_previous: Any, weights_previous_previous: Any, steps_between: int) -> torch.Tensor:
        return weights_previous["a"] - weights_previous_previous["a"] * steps_between

    register(moved)
    known = registry["moved"]
    assert known.sites() == frozenset()
    assert known.sites("_previous") == known.sites("_previous_previous") == {"weights"}
    assert known.references == {"previous", "previous_previous"}
    assert known.between == {"steps_between"}
    assert known.fields() == frozenset()


def test_a_metric_of_another_metrics_numbers(registry: dict[str, Any]) -> None:
    def strongest(prefix_matching: torch.Tensor) -> torch.Tensor:
        return prefix_matching.amax((1, 2))

    register(strongest, task="repeated_tokens")
    assert registry["strongest"].derived_from == {"prefix_matching"}
    assert registry["strongest"].fields() == registry["strongest"].sites() == frozenset()

    def elsewhere(prefix_matching: torch.Tensor) -> torch.Tensor:
        return prefix_matching

    with pytest.raises(ValueError, match=r"derived from 'prefix_matching' on task 'repeated_tokens'; .* 'text', with"):
        register(elsewhere, task="text")

    def mixed(prefix_matching: torch.Tensor, token_loss: torch.Tensor) -> torch.Tensor:
        return prefix_matching + token_loss

    with pytest.raises(ValueError, match="also token_loss; a derived metric reads numbers of metrics and nothing else"):
        register(mixed, task="repeated_tokens")


def test_no_metric_file_imports_another() -> None:
    """Shared maths registers no metric, and is all that a metric file may import beside the contract."""
    registering = {known.function.__module__ for known in METRICS.values()}
    for name in registering:
        path = TESTS.parent / (name.replace(".", "/") + ".py")
        imported = set(re.findall(r"^(?:from|import) ([\w.]+)", path.read_text("utf-8"), re.MULTILINE))
        assert not (imported & registering), f"{name} imports {imported & registering}"
        assert not {i for i in imported if i.split(".")[0] in {"dynamics", "dashboards", "transformers", "polars"}}


LANGUAGE = (
    "text", "repeated_tokens", "bigrams", "ngrams", "ngram_completions", "ablation", "langevin", "tuned_lens", None,
)  # fmt: skip


@pytest.mark.parametrize("name", [name for name, known in METRICS.items() if known.task in LANGUAGE])
def test_the_documentation_names_it(name: str) -> None:
    page = (TESTS.parent / "docs" / "metrics.md").read_text("utf-8")
    assert f"`{name}`" in page
