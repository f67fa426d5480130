"""N-grams in context and their completions: counts against brute force, by hand, scipy, controls and gaps."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
import scipy.stats
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

import dynamics
from dynamics.errors import UsageError
from dynamics.tasks import Subject, Task, build_task
from metrics.ngram_stages import ngram_cross_entropy, ngram_kl, ngram_score

LETTERS = ["<s>", *"abcdefgh"]
TEXT = "\f".join([" ".join(random.Random(0).choices("abcd", (5, 3, 2, 1), k=300)), " ".join("hgfe" * 20)])


@pytest.fixture
def reader(tmp_path: Path) -> Subject:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(LETTERS)}, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return Subject(len(LETTERS), 32, 0, tmp_path / "tokenizer.json")


def task(reader: Subject, name: str = "ngrams", content: str = TEXT, **settings: object) -> Task:
    assert reader.tokenizer is not None
    path = reader.tokenizer.with_name("text.txt")
    path.write_text(content, "utf-8")
    return build_task(name, {"path": path, **settings}, reader)


def following(context: list[str], least: int) -> Counter[str]:
    """What follows a context in the text, by looking at every place; shortened while it is too rare."""
    found: Counter[str] = Counter()
    for document in TEXT.split("\f"):
        words = document.split()
        for i in range(len(words) - len(context)):
            if words[i : i + len(context)] == context:
                found[words[i + len(context)]] += 1
    return found if found.total() >= least or not context else following(context[1:], least)


def predictions(built: Task, order: int) -> torch.Tensor:
    """Logits of a model that predicts the text's n-grams of one order at every place."""
    shares = torch.zeros(*built.fields["ngram_shares"].shape[:2], len(LETTERS))
    if order == 1:
        shares[..., list(built.fields["unigrams"])] = torch.tensor(built.fields["unigram_shares"])
    else:
        ids = built.fields["ngram_successors"][:, :, order - 2].long()
        shares.scatter_add_(2, ids, built.fields["ngram_shares"][:, :, order - 2])
    return shares.log().clamp(min=-1e4)


def given(built: Task) -> list[object]:
    return [built.fields[name] for name in ("ngram_successors", "ngram_shares", "unigrams", "unigram_shares")]


def test_counts_are_those_of_the_text_backing_off_to_what_is_frequent(reader: Subject) -> None:
    built = task(reader, length=24, least=6, n_examples=6)
    assert built.read_positions is not None
    backed_off = 0
    for i, tokens in enumerate(built.tokens.tolist()):
        assert tokens[0] == 0
        for j, place in enumerate(built.read_positions):
            for order in range(3):
                context = [LETTERS[token] for token in tokens[place - order : place + 1]]
                expected = following(context, 6)
                backed_off += following(context, 1) != expected
                ids, shares = (built.fields[f"ngram_{part}"][i, j, order].tolist() for part in ("successors", "shares"))
                ours = {LETTERS[token]: share for token, share in zip(ids, shares, strict=True) if share}
                assert ours == pytest.approx({word: n / expected.total() for word, n in expected.items()})
    assert backed_off > 10
    assert sum(built.settings["positions_by_tokens_of_context"]) == 6 * 8


def test_places_after_a_rare_token_are_not_read(reader: Subject) -> None:
    built = task(reader, content="a b " * 40 + "c d e f g h " + "a b " * 40, length=24, least=20, n_examples=9)
    read = built.fields["ngram_shares"].sum(-1)
    assert read.flatten().round().unique().tolist() == [0.0, 1.0]
    assert built.n_examples == 6
    logits = torch.randn(6, 8, len(LETTERS), generator=torch.Generator().manual_seed(0))
    value = ngram_cross_entropy(logits, *given(built))  # pyright: ignore[reportArgumentType]
    i, j = (int(place) for place in (read[..., 0] == 0).nonzero()[0])
    changed = logits.clone()
    changed[i, j] += torch.arange(len(LETTERS)) * 5.0
    torch.testing.assert_close(ngram_cross_entropy(changed, *given(built)), value)  # pyright: ignore


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_model_of_one_order_has_its_lowest_divergence_there(reader: Subject, order: int) -> None:
    """The control: it knows the n-grams of one order and no other."""
    built = task(reader, length=24, least=6, n_examples=6)
    divergence = ngram_kl(predictions(built, order), *given(built)).mean(0)  # pyright: ignore[reportArgumentType]
    assert float(divergence[order - 1]) == pytest.approx(0, abs=1e-5)
    assert all(float(other) > 0.01 for k, other in enumerate(divergence) if k != order - 1)


def test_equals_scipys_relative_entropy(reader: Subject) -> None:
    built = task(reader, length=24, least=6, n_examples=4)
    logits = torch.randn(4, 8, len(LETTERS), generator=torch.Generator().manual_seed(0))
    said = logits.softmax(-1).numpy()
    for order in range(4):
        truth = predictions(built, order + 1).softmax(-1).numpy()
        expected = scipy.stats.entropy(truth, said, axis=-1).mean(-1)
        ours = ngram_kl(logits, *given(built))[:, order]  # pyright: ignore[reportArgumentType]
        assert ours.tolist() == pytest.approx(expected.tolist(), rel=1e-4)
        crossed = ngram_cross_entropy(logits, *given(built))[:, order]  # pyright: ignore[reportArgumentType]
        entropy = scipy.stats.entropy(truth, axis=-1).mean(-1)
        assert (crossed - ours).tolist() == pytest.approx(entropy.tolist(), rel=1e-4, abs=1e-6)


def test_chance_is_the_vocabulary(reader: Subject) -> None:
    built = task(reader, length=24, least=6, n_examples=2)
    uniform = torch.zeros(2, 8, len(LETTERS))
    values = ngram_cross_entropy(uniform, *given(built))  # pyright: ignore[reportArgumentType]
    assert values.flatten().tolist() == pytest.approx([math.log(len(LETTERS))] * 8)


def test_common_ngrams_are_the_commonest_and_padding_is_not_read(reader: Subject) -> None:
    built = task(reader, "ngram_completions", most_common=3, n_windows=10)
    order = built.fields["ngram_order"]
    counts = Counter(
        (a, b) for document in TEXT.split("\f") for a, b in zip(document.split(), document.split()[1:], strict=False)
    )
    bigrams = [tuple(LETTERS[token] for token in row[1:3]) for row in built.tokens[order == 2].tolist()]
    assert sorted(counts[pair] for pair in bigrams) == sorted(counts.values())[-3:]
    assert built.tokens.shape == (10 + 3 * 3, 5)
    losses = torch.rand(len(order), 4, generator=torch.Generator().manual_seed(0)) + 0.5
    before = ngram_score(losses, order)
    losses[order == 2, 2:] = 99.0
    torch.testing.assert_close(ngram_score(losses, order), before)
    expected = [float(losses[order == 0, n - 1].mean() / losses[order == n, n - 1].mean()) for n in (2, 3, 4)]
    assert before.tolist() == pytest.approx(expected)


def test_a_model_that_knows_nothing_scores_one() -> None:
    even = torch.full((7, 4), math.log(50))
    assert ngram_score(even, torch.tensor([0, 0, 0, 2, 3, 4, 4])).tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_gaps_and_inputs_unchanged(reader: Subject) -> None:
    built = task(reader, length=24, least=6, n_examples=2)
    broken = torch.full((2, 8, len(LETTERS)), float("nan"))
    before = built.fields["ngram_shares"].clone()
    assert ngram_kl(broken, *given(built)).isnan().all()  # pyright: ignore[reportArgumentType]
    assert torch.equal(built.fields["ngram_shares"], before)
    order = torch.tensor([0, 2, 3, 4])
    assert ngram_score(torch.zeros(4, 4), order).isnan().all()
    assert ngram_score(torch.full((4, 4), float("nan")), order).isnan().all()
    assert order.tolist() == [0, 2, 3, 4]


def test_texts_that_are_too_short_say_so(reader: Subject) -> None:
    with pytest.raises(UsageError, match="has no window of 8 tokens in which a token is followed by another 999"):
        task(reader, length=8, least=999)
    with pytest.raises(UsageError, match="no document of text.txt has 4 tokens"):
        task(reader, "ngram_completions", content="a b c")
    with pytest.raises(UsageError, match="40 tokens and a start token exceed the model's context of 32"):
        task(reader, length=40)


def test_they_measure_on_a_real_folder(tiny_series: Path, text: Path, tmp_path: Path) -> None:
    settings = dynamics.Settings(tasks={
        "ngrams": {"path": str(text), "length": 24, "least": 2}, "ngram_completions": {"path": str(text)},
    })  # fmt: skip
    series = dynamics.open_series(f"folder:{tiny_series}", steps="0,1000")
    names = ["ngram_kl", "ngram_cross_entropy", "ngram_score"]
    frame = dynamics.measure(series, names, out=tmp_path / "run", settings=settings).measurements()
    assert frame["value"].null_count() == 0
    assert frame.filter(pl.col("metric") == "ngram_kl")["label"].to_list()[:2] == ["4-gram", "4-gram"]
    assert len(frame) == 2 * (4 + 4 + 3)
