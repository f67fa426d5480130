"""Quanta found in gradients: a planted structure, the choice of tokens, and the way through a sweep."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import AutoConfig

from conftest import tiny_model
from dynamics.callback import MeasureCallback
from dynamics.errors import UsageError
from dynamics.sources import open_series
from dynamics.sweep import Settings, measure
from dynamics.tasks import Subject, Task, build_task, is_from_last
from dynamics.tasks.quanta import completes_a_trigram, evenly

WORDS = ["start", "a", "b", "c", "d"]


class TwoMeans(nn.Module):
    """Predicts the present token again by one matrix for tokens 1 and 2 and by another for 3 and 4: gradients of
    losses of different means have no parameter in common."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(3 * torch.eye(5)), nn.Parameter(3 * torch.eye(5))
        self.device, self.config = torch.device("cpu"), AutoConfig.for_model("gpt2")

    def forward(self, input_ids: Tensor) -> object:
        one_hot = nn.functional.one_hot(input_ids, 5).float()
        by_second = (input_ids > 2)[..., None]
        logits = torch.where(by_second, one_hot @ self.second, one_hot @ self.first)
        return type("Output", (), {"logits": logits})


def subject(tmp_path: Path, text: str, module: object = None) -> tuple[Subject, Path]:
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="start"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "tokenizer.json"))
    path = tmp_path / "text.txt"
    path.write_text(text, "utf-8")
    return Subject(5, 64, 0, tmp_path / "tokenizer.json", module or TwoMeans()), path


def build(tmp_path: Path, text: str, **settings: object) -> Task:
    about, path = subject(tmp_path, text)
    shared = {"path": str(path), "length": 8, "loss_below": 0.5, "width": 512, "n_quanta": 2}
    return build_task("quanta", shared | settings, about)


def test_tokens_predicted_by_different_parameters_are_two_quanta(tmp_path: Path) -> None:
    task = build(tmp_path, "a a c c b d d b b a a d d c c b")
    tokens, quantum = task.tokens, task.fields["quantum"]
    same = tokens[:, 1:] == tokens[:, :-1]
    assert (quantum >= 0).eq(same).all()  # the others are not predicted
    by_first = tokens[:, 1:][same] <= 2
    assert {*zip(by_first.tolist(), quantum[same].tolist(), strict=True)} in ({(True, 0), (False, 1)},
                                                                            {(True, 1), (False, 0)})  # fmt: skip
    assert len(task.fields["names"]) == 2
    assert task.fields["names"][0].startswith("1: ‘")
    shown = task.settings["tokens"]
    assert [one["token"] for one in shown] == [WORDS[token] for token in tokens[:, 1:][same]]
    assert all(one["context"].split()[-1] == one["token"] for one in shown)
    assert [one["quantum"] for one in shown] == [task.fields["names"][group] for group in quantum[same]]


def test_the_same_settings_give_the_same_task(tmp_path: Path) -> None:
    text = "a a c c b d d b b a a d d c c b"
    assert build(tmp_path, text).hash == build(tmp_path, text).hash != build(tmp_path, text, n_quanta=1).hash


def test_one_quantum_holds_every_token(tmp_path: Path) -> None:
    task = build(tmp_path, "a a c c b d d b b a a d d c c b", n_quanta=1)
    assert set(task.fields["quantum"].unique().tolist()) == {-1, 0}


def test_what_induction_predicts_is_left_out() -> None:
    tokens = torch.tensor([[0, 5, 6, 7, 5, 6, 7, 5], [0, 5, 6, 7, 6, 5, 7, 5]])
    assert completes_a_trigram(tokens).int().tolist() == [[0, 0, 0, 0, 0, 1, 1], [0] * 7]


def test_tokens_are_chosen_at_equal_distances_and_no_more_than_asked_for() -> None:
    chosen = evenly(torch.ones(10, 10, dtype=torch.bool), 30)
    assert chosen.flatten().nonzero().flatten().tolist() == list(range(0, 100, 4))
    assert int(evenly(torch.zeros(2, 2, dtype=torch.bool), 3).sum()) == 0


def test_without_enough_predicted_tokens_it_says_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"0 of 16 tokens have a loss below 0.001 nats .* larger 'loss_below'"):
        build(tmp_path, "a a c c b d d b b a a d d c c b", loss_below=1e-3)
    with pytest.raises(UsageError, match="the last checkpoint and a tokenizer are needed"):
        build_task("quanta", {}, Subject(5, 64, 0, None))


def test_a_sweep_finds_the_quanta_at_the_last_checkpoint_and_follows_them(
    tiny_series: Path, text: Path, tmp_path: Path
) -> None:
    series = open_series(f"folder:{tiny_series}")
    settings = Settings({"quanta": {"path": str(text), "documents": "lines", "length": 12, "loss_below": 9.0,
                                    "n_tokens": 40, "n_quanta": 3, "width": 256}})  # fmt: skip
    measured = measure(series, ["quantum_loss", "quantum_token_loss"], out=tmp_path / "run", settings=settings)
    curves = measured.measurements()
    assert curves["task_hash"].n_unique() == 1
    by_quantum = curves.filter(pl.col("metric") == "quantum_loss")
    assert by_quantum["step"].unique().sort().to_list() == [0, 10, 100, 1000]
    assert by_quantum["label"].n_unique() == 3
    # The tokens are those that the last checkpoint's own weights predict best: built by hand they are the same.
    about = Subject(tiny_model(0).config.d_vocab, 64, 0, tiny_series / "step0" / "tokenizer.json", tiny_model(3))
    assert curves["task_hash"][0] == build_task("quanta", settings.tasks["quanta"], about).hash


def test_while_training_there_is_no_last_checkpoint(tmp_path: Path) -> None:
    assert is_from_last("quanta")
    assert not is_from_last("text")
    with pytest.raises(UsageError, match="'quantum_loss' refers to the final checkpoint"):
        MeasureCallback(["quantum_loss"], out=tmp_path)


