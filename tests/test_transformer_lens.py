"""The same weights in TransformerLens: scores of its own patterns, and its head detector, agree with ours.

TransformerLens is no dependency: DYNAMICS_TRANSFORMER_LENS names a python that has it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GPTNeoXConfig, PreTrainedTokenizerFast

from dynamics.forward import run
from dynamics.tasks import Subject, Task, build_task
from metrics.attention import Attention, from_pattern
from metrics.induction import (
    duplicate_token_attention,
    induction_score,
    prefix_matching,
    prefix_matching_entry_mean,
    previous_token_attention,
)
from tiny_models import SIZES

PYTHON = os.environ.get("DYNAMICS_TRANSFORMER_LENS", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="needs DYNAMICS_TRANSFORMER_LENS, a python with transformer_lens")

THEIRS = """
import sys, torch
from transformer_lens.head_detector import detect_head
from transformer_lens.model_bridge import TransformerBridge
folder = sys.argv[1]
tokens, words = torch.load(folder + "/tokens.pt"), open(folder + "/words.txt").read()
model = TransformerBridge.boot_transformers(folder, dtype=torch.float32)
with torch.inference_mode():
    _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_pattern"), return_type=None)
    pattern = torch.stack([cache[f"blocks.{layer}.attn.hook_pattern"] for layer in range(model.cfg.n_layers)])
    kinds = ("previous_token_head", "duplicate_token_head", "induction_head")
    detected = {kind: detect_head(model, words, kind) for kind in kinds}
torch.save({"pattern": pattern, "detected": detected, "tokens": model.to_tokens(words)}, folder + "/theirs.pt")
"""


@pytest.fixture(scope="module")
def task() -> Task:
    return build_task("repeated_tokens", {"n_examples": 6}, Subject(SIZES["vocab_size"], 128, 0, None))


@pytest.fixture(scope="module")
def folder(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-NeoX with a tokenizer of numbered words, and what TransformerLens said of it."""
    place = tmp_path_factory.mktemp("lens")
    torch.manual_seed(0)
    config = GPTNeoXConfig(**SIZES | {"max_position_embeddings": 128}, initializer_range=0.3)
    AutoModelForCausalLM.from_config(config).save_pretrained(place)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(SIZES["vocab_size"])}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w0", eos_token="w0").save_pretrained(place)
    torch.save(task.tokens, place / "tokens.pt")
    (place / "words.txt").write_text(" ".join(f"w{i}" for i in task.tokens[0].tolist()), "utf-8")
    ran = subprocess.run([PYTHON, "-c", THEIRS, str(place)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return place


@pytest.fixture(scope="module")
def ours(folder: Path, task: Task) -> list[Attention]:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    sites: list[Attention] = []
    with torch.inference_mode():
        run(model, task.tokens, lambda _, site: sites.append(site))
    return sites


@pytest.fixture(scope="module")
def theirs(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "theirs.pt")


@pytest.mark.parametrize(
    "metric", [prefix_matching, prefix_matching_entry_mean, induction_score, duplicate_token_attention]
)
def test_scores_are_those_of_its_own_patterns(
    metric: Any, ours: list[Attention], theirs: dict[str, Any], task: Task
) -> None:
    for site, pattern in zip(ours, theirs["pattern"], strict=True):
        expected = metric(from_pattern(pattern), task.fields["period"])
        torch.testing.assert_close(metric(site, task.fields["period"]), expected, atol=1e-5, rtol=0)
        assert float(expected.std()) > 1e-3


def test_its_head_detector_gives_our_scores_on_its_own_scale(
    ours: list[Attention], theirs: dict[str, Any], task: Task
) -> None:
    """It divides by the attention of all queries, one each, where we divide by the queries that have a target."""
    assert torch.equal(theirs["tokens"], task.tokens[:1])
    length, period = task.tokens.shape[1], task.fields["period"]
    targets = length - 1 - int(period[0])
    for layer, site in enumerate(ours):
        previous = previous_token_attention(site)[0] * (length - 1) / length
        torch.testing.assert_close(theirs["detected"]["previous_token_head"][layer], previous, atol=1e-4, rtol=0)
        for kind, metric in (("induction_head", prefix_matching), ("duplicate_token_head", duplicate_token_attention)):
            expected = metric(site, period)[0] * targets / length
            torch.testing.assert_close(theirs["detected"][kind][layer], expected, atol=1e-4, rtol=0)
