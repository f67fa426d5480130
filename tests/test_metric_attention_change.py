"""Attention beside the last checkpoint's: by hand, against eager patterns, through a sweep."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor

import dynamics
from conftest import tiny_model
from dynamics import forward
from dynamics.architectures.small_transformer import SmallTransformer
from dynamics.forward import ROWS
from dynamics.sites.residual import spread
from dynamics.sweep import Settings
from metrics.attention_change import attention_cosine_to_final
from tiny_models import CONFIGS, eager_outputs, random_tokens
from tiny_models import tiny_model as tiny_family


def row(*probabilities: float) -> Tensor:
    return torch.tensor(probabilities)[None, None, None, None]


def test_by_hand() -> None:
    """Uniform over q + 1 keys against one of them: 1/sqrt(q + 1); and two places that share nothing."""
    uniform, one = row(*[1 / 9] * 9), row(1, *[0] * 8)
    assert float(attention_cosine_to_final(uniform, one)) == pytest.approx(1 / 3)
    assert float(attention_cosine_to_final(one, row(0, 1, *[0] * 7))) == 0
    torch.testing.assert_close(attention_cosine_to_final(uniform, uniform), torch.ones(1, 1, 1))


@pytest.mark.parametrize("family", CONFIGS)
@torch.inference_mode()
def test_rows_are_those_of_eager_patterns(family: str) -> None:
    tokens, ours = random_tokens(3, 20), []
    chosen = spread(20, ROWS)
    forward.run(tiny_family(family), tokens, lambda _, attention: ours.append(attention.rows(chosen)))
    for rows, pattern in zip(ours, eager_outputs(tiny_family(family), tokens)[1], strict=True):
        torch.testing.assert_close(rows, pattern[:, :, chosen], atol=1e-5, rtol=0)


def patterns(model: SmallTransformer, tokens: Tensor) -> Tensor:
    return torch.stack([pattern.detach() for pattern in model(tokens, output_attentions=True).attentions], 1)


def test_through_a_sweep_it_is_the_cosine_of_the_patterns(tiny_series: Path, text: Path, tmp_path: Path) -> None:
    settings = Settings({"text": {"path": str(text), "documents": "lines"}})
    series = dynamics.open_series(f"folder:{tiny_series}")
    run = dynamics.measure(series, ["attention_cosine_to_final", "loss"], out=tmp_path / "run", settings=settings)
    frame = run.measurements().filter(pl.col("metric") == "attention_cosine_to_final").sort("step", "layer", "head")
    last = frame.filter(pl.col("step") == 1000)
    assert last["value"].to_list() == pytest.approx([1.0] * 4, abs=1e-4)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny_series / "step10" / "tokenizer.json"))
    tokens = torch.tensor([[0, *tokenizer.encode(line).ids] for line in text.read_text().splitlines()])
    chosen = spread(tokens.shape[1], ROWS)
    here, final = (patterns(tiny_model(seed), tokens)[:, :, :, chosen] for seed in (1, 3))
    expected = torch.cosine_similarity(here, final, dim=-1).mean(-1)  # [batch layer head]
    found = frame.filter(pl.col("step") == 10)
    assert found["value"].to_list() == pytest.approx(expected.mean(0).flatten().tolist(), abs=2e-3)
    assert found["n"].unique().to_list() == [16]
    stderr = expected.std(0).flatten() / 16**0.5
    assert found["stderr"].to_list() == pytest.approx(stderr.tolist(), rel=0.05)


def test_a_single_key_is_the_same_for_all() -> None:
    assert float(attention_cosine_to_final(row(1.0), row(1.0))) == 1


def test_inputs_are_left_as_they_are() -> None:
    here, final = row(0.2, 0.8).half(), row(0.5, 0.5).half()
    copies = here.clone(), final.clone()
    attention_cosine_to_final(here, final)
    assert torch.equal(here, copies[0])
    assert torch.equal(final, copies[1])
