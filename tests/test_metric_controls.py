"""Models in which there is no induction: their heads stay at the chance that docs/metrics.md derives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, PreTrainedModel

from dynamics.forward import run
from dynamics.tasks import Subject, Task, build_task
from metrics.attention import Attention
from metrics.induction import duplicate_token_attention, prefix_matching, previous_token_attention
from tiny_models import SIZES

D_VOCAB, N_EXAMPLES = 512, 96


def network(n_layers: int, spread: float) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = SIZES | {"num_hidden_layers": n_layers, "vocab_size": D_VOCAB, "max_position_embeddings": 128}
    config = GPTNeoXConfig(**sizes, initializer_range=spread)
    return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


def probe(**settings: int) -> Task:
    return build_task("repeated_tokens", {"n_examples": N_EXAMPLES} | settings, Subject(D_VOCAB, 128, 0, None))


@torch.inference_mode()
def attention(model: PreTrainedModel, tokens: torch.Tensor) -> list[Attention]:
    sites: list[Attention] = []
    run(model, tokens, lambda _, site: sites.append(site))
    return sites


def chance(task: Task) -> float:
    """The mean over queries of the share of their keys that are targets, floor((q - 1) / period) of q + 1."""
    place = np.arange(task.tokens.shape[1])
    shares = []
    for period in task.fields["period"].tolist():
        queries = place[place > period]
        shares.append(((queries - 1) // period / (queries + 1)).mean())
    return float(np.mean(shares))


def test_random_weights_are_at_chance_on_every_score() -> None:
    task = probe()
    harmonic = sum(1 / k for k in range(1, task.tokens.shape[1] + 1))
    previous = (harmonic - 1) / (task.tokens.shape[1] - 1)
    for site in attention(network(2, 0.02), task.tokens):
        assert prefix_matching(site, task.fields["period"]).mean(0).tolist() == pytest.approx([chance(task)] * 4, 0.02)
        assert duplicate_token_attention(site, task.fields["period"]).mean(0).tolist() == pytest.approx(
            [chance(task)] * 4, 0.03
        )
        assert previous_token_attention(site).mean(0).tolist() == pytest.approx([previous] * 4, 0.02)


def test_one_layer_is_at_chance_whatever_its_weights() -> None:
    """Its queries and keys know their own tokens alone, and a follower is a token drawn at random."""
    task = probe()
    (site,) = attention(network(1, 0.3), task.tokens)
    last = site.pattern()[:, :, -1]
    assert float(last.amax(-1).mean()) > 0.2  # far from uniform: there is something to go wrong
    scores = prefix_matching(site, task.fields["period"])
    error = scores.std(0) / N_EXAMPLES**0.5
    assert ((scores.mean(0) - chance(task)).abs() < 4 * error).all()


def test_the_chance_of_the_papers_probe() -> None:
    assert chance(probe(shortest=25, longest=25)) == pytest.approx(0.0307, abs=5e-5)
