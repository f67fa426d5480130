"""The tasks: fixed, seeded, hashed inputs that hold what they promise."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from dynamics.errors import UsageError
from dynamics.tasks import Subject, Task, build_task

WORDS = ["<s>", *"abcdefghijklmnopqrstuvwxyz"]
SMALL = Subject(d_vocab=len(WORDS), n_ctx=64, bos=0, tokenizer=None)
PYTHIA = Subject(d_vocab=50304, n_ctx=2048, bos=0, tokenizer=None)


@pytest.fixture
def reader(tmp_path: Path) -> Subject:
    """A subject whose tokenizer knows one token a letter."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return Subject(len(WORDS), 16, 0, tmp_path / "tokenizer.json")


def letters(path: Path, n: int) -> Path:
    path.write_text(" ".join(WORDS[1 + i % 26] for i in range(n)), "utf-8")
    return path


@pytest.mark.parametrize("subject", [SMALL, PYTHIA])
def test_repeated_blocks_are_distinct_tokens_and_repeat_with_their_period(subject: Subject) -> None:
    task = build_task("repeated_tokens", {}, subject)
    margin = int(0.04 * subject.d_vocab)
    assert len(set(task.fields["period"].tolist())) > 3
    for row, period in zip(task.tokens.tolist(), task.fields["period"].tolist(), strict=True):
        block = row[1 : period + 1]
        assert row[0] == 0
        assert len(set(block)) == period
        assert margin <= min(block) <= max(block) < subject.d_vocab - margin
        assert all(token == block[i % period] for i, token in enumerate(row[1:]))


def test_the_papers_probe_where_the_context_has_room() -> None:
    """25 tokens x 4 and a start token, around which the lengths vary."""
    task = build_task("repeated_tokens", {}, PYTHIA)
    assert task.tokens.shape == (64, 101)
    assert (task.settings["shortest"], task.settings["longest"]) == (17, 33)
    fixed = build_task("repeated_tokens", {"shortest": 25, "longest": 25}, PYTHIA)
    assert set(fixed.fields["period"].tolist()) == {25}


def test_blocks_that_cannot_repeat_are_refused() -> None:
    with pytest.raises(UsageError, match="blocks of 60 to 60 distinct tokens do not repeat within 64 positions"):
        build_task("repeated_tokens", {"shortest": 60, "longest": 60}, SMALL)


def test_the_hash_follows_what_metrics_read_and_nothing_else() -> None:
    first, again = (build_task("repeated_tokens", {"seed": 1}, PYTHIA) for _ in range(2))
    other = build_task("repeated_tokens", {"seed": 2}, PYTHIA)
    assert first.hash == again.hash != other.hash
    batched = Task(first.name, first.fields, {}, batch_size=3)
    assert batched.hash == first.hash


def test_batches_cut_what_has_examples_and_leave_the_rest() -> None:
    task = Task("text", {"tokens": torch.arange(10).view(5, 2), "p": 7}, {}, batch_size=2)
    batches = list(task.batches(torch.device("cpu")))
    assert [len(batch["tokens"]) for batch in batches] == [2, 2, 1]
    assert all(batch["p"] == 7 for batch in batches)
    assert torch.equal(torch.cat([batch["tokens"] for batch in batches]), task.tokens)


def test_modular_addition_is_every_pair_with_the_papers_split() -> None:
    task = build_task("modular_addition", {"p": 113}, Subject(114, 3, None, None))
    a, b, equals = task.tokens.T
    assert task.n_examples == 113**2
    assert torch.equal((a + b) % 113, task.fields["answer"])
    assert set(equals.tolist()) == {113}
    order = [(x, y, 113) for x in range(113) for y in range(113)]
    random.seed(0)
    random.shuffle(order)
    theirs = set(order[: int(0.3 * len(order))])
    ours = {tuple(row) for row in task.tokens[task.fields["train"]].tolist()}
    assert ours == theirs
    assert task.exhaustive


def test_text_is_cut_into_windows_after_a_start_token(reader: Subject, tmp_path: Path) -> None:
    path = letters(tmp_path / "text.txt", 100)
    task = build_task("text", {"path": path, "length": 15}, reader)
    assert task.tokens.shape == (6, 16)  # 100 tokens hold six windows of 15
    assert set(task.tokens[:, 0].tolist()) == {0}
    everything = [1 + i % 26 for i in range(100)]
    assert task.tokens[:, 1:].flatten().tolist() == everything[:90]
    assert (task.fields["early_position"], task.fields["late_position"]) == (1, 15)
    assert task.settings["early_position"] == 1


def test_lines_are_documents_and_are_not_packed_across_each_other(reader: Subject, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("a b c d e\nx y\nf g h\n", "utf-8")
    task = build_task("text", {"path": path, "length": 3, "documents": "lines"}, reader)
    assert task.tokens[:, 1:].tolist() == [[1, 2, 3], [6, 7, 8]]
    assert task.settings["documents_too_short"] == 1


def test_each_window_knows_its_bytes_and_a_form_feed_ends_a_document(reader: Subject, tmp_path: Path) -> None:
    """`é` is no known word, one token of two bytes; spaces count with the token before them."""
    path = tmp_path / "two.txt"
    path.write_text("a b c d\fé é é", "utf-8")
    task = build_task("text", {"path": path, "length": 3}, reader)
    assert task.tokens[:, 1:].tolist() == [[1, 2, 3], [0, 0, 0]]
    assert task.fields["n_bytes"].tolist() == [6, 8]


def test_packed_documents_have_a_start_token_between_them(reader: Subject, tmp_path: Path) -> None:
    """Seven tokens and two starts give three windows of three; the start stands for no byte."""
    path = tmp_path / "lines.txt"
    path.write_text("a b\nc d e\nf g\n", "utf-8")
    settings = {"path": path, "length": 3, "documents": "lines"}
    with pytest.raises(UsageError, match="no document of lines.txt has 4 tokens.*'packed'"):
        build_task("text", settings | {"length": 4}, reader)
    task = build_task("text", settings | {"packed": True}, reader)
    assert task.tokens[:, 1:].tolist() == [[1, 2, 0], [3, 4, 5], [0, 6, 7]]
    assert task.fields["n_bytes"].tolist() == [3, 5, 3]


def test_sampled_positions_are_one_from_each_stretch_the_same_by_seed(reader: Subject, tmp_path: Path) -> None:
    settings = {"path": letters(tmp_path / "text.txt", 100), "length": 15, "loss_positions": 5}
    first, again = (build_task("text", settings, reader) for _ in range(2))
    places = first.fields["loss_positions"]
    assert [(place - 1) // 3 for place in places] == [0, 1, 2, 3, 4]
    assert first.settings["loss_positions"] == places
    every = build_task("text", settings | {"loss_positions": 15}, reader)
    assert every.fields["loss_positions"] == tuple(range(1, 16))
    assert first.hash == again.hash != every.hash
    assert len({build_task("text", settings | {"seed": s}, reader).fields["loss_positions"] for s in range(8)}) > 1


def test_the_parts_of_a_document_share_nothing_and_leave_nothing_out(reader: Subject, tmp_path: Path) -> None:
    settings = {"path": letters(tmp_path / "text.txt", 100), "length": 5}
    names = ("all", "training", "held-out")
    parts = {part: build_task("text", settings | {"part": part}, reader).tokens[:, 1:] for part in names}
    assert torch.equal(torch.cat([parts["training"], parts["held-out"]]), parts["all"])
    assert len(parts["held-out"]) == len(parts["all"]) // 5


def test_no_more_is_read_of_a_text_than_is_asked_for(reader: Subject, tmp_path: Path) -> None:
    path = letters(tmp_path / "text.txt", 100)
    task = build_task("text", {"path": path, "length": 5, "characters": 41}, reader)
    assert task.settings["windows_available"] == 4


def test_the_bundled_sample_reads(reader: Subject) -> None:
    task = build_task("text", {"length": 15}, reader)
    assert task.tokens.shape == (64, 16)
    assert task.settings["path"] == "sample.txt"
    assert task.settings["windows_available"] > 1000


def test_text_that_cannot_be_used_says_why(reader: Subject, tmp_path: Path) -> None:
    short = letters(tmp_path / "short.txt", 5)
    with pytest.raises(UsageError, match=r"no document of .*short\.txt has 15 tokens"):
        build_task("text", {"path": short}, reader)
    with pytest.raises(UsageError, match="cannot read text"):
        build_task("text", {"path": tmp_path / "absent.txt"}, reader)
    with pytest.raises(UsageError, match="no tokenizer.json"):
        build_task("text", {"path": short}, SMALL)
    with pytest.raises(UsageError, match="exceed the model's context of 16"):
        build_task("text", {"path": short, "length": 16}, reader)
    with pytest.raises(UsageError, match="beyond the model's vocabulary of 3"):
        build_task("text", {"path": short, "length": 2}, Subject(3, 16, 0, reader.tokenizer))


@pytest.mark.parametrize(("name", "some"), [("langevin", {}), ("tuned_lens", {"n_training": 2, "n_examples": 1})])
def test_a_usual_window_is_cut_to_the_context_and_one_that_is_asked_for_is_not(
    name: str, some: dict, reader: Subject, tmp_path: Path
) -> None:
    path = letters(tmp_path / "text.txt", 100)
    assert build_task(name, {"path": path} | some, reader).tokens.shape[1] == 16
    assert build_task(name, {"path": path, "length": 9} | some, reader).tokens.shape[1] == 10
    with pytest.raises(UsageError, match=f"{name.replace('_', ' ')} windows of 16 tokens.*exceed the model's context"):
        build_task(name, {"path": path, "length": 16} | some, reader)


def test_unknown_tasks_and_settings_name_what_there_is() -> None:
    with pytest.raises(UsageError, match=r"repeated_token.*repeated_tokens"):
        build_task("repeated_token", {}, SMALL)
    with pytest.raises(UsageError, match=r"setting 'repeat': .*its settings are n_examples, stderr, .*shortest"):
        build_task("repeated_tokens", {"repeat": 3}, SMALL)
