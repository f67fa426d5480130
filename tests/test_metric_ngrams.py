"""Divergence from the text's own n-grams: by hand, against scipy, and the task's counts against brute force."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import scipy.stats
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from dynamics.errors import UsageError
from dynamics.tasks import Subject, Task, build_task
from metrics.ngrams import bigram_kl, bigram_score, unigram_kl

LETTERS = ["<s>", *"abcdefgh"]


@pytest.fixture
def reader(tmp_path: Path) -> Subject:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(LETTERS)}, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return Subject(12, 16, 0, tmp_path / "tokenizer.json")


def task(reader: Subject, content: str, **settings: object) -> Task:
    assert reader.tokenizer is not None
    path = reader.tokenizer.with_name("text.txt")
    path.write_text(content, "utf-8")
    return build_task("bigrams", {"path": path, "least": 1, **settings}, reader)


def log_shares(shares: dict[int, float]) -> torch.Tensor:
    """Logits of a model that predicts just these shares."""
    logits = torch.full((1, 1, 12), -1e4)
    for token, share in shares.items():
        logits[..., token] = math.log(share)
    return logits


def test_counts_are_those_of_the_text_and_stop_at_documents(reader: Subject) -> None:
    documents = ["a b a c a b", "b a b b"]
    built = task(reader, "\f".join(documents), n_examples=40)
    following: dict[str, Counter[str]] = {}
    for document in documents:
        words = document.split()
        for word, after in zip(words, words[1:], strict=False):
            following.setdefault(word, Counter())[after] += 1
    for i, (start, context) in enumerate(built.tokens.tolist()):
        counts = following[LETTERS[context]]
        shares = {
            LETTERS[token]: share
            for token, share in zip(built.fields["successors"][i].tolist(),
                                    built.fields["successor_shares"][i].tolist(), strict=True) if share
        }  # fmt: skip
        assert start == 0
        assert shares == pytest.approx({word: n / counts.total() for word, n in counts.items()})
    assert built.fields["unigrams"] == (1, 2, 3)
    assert built.fields["unigram_shares"] == pytest.approx((0.4, 0.5, 0.1))


def test_a_model_that_predicts_the_shares_has_no_divergence(reader: Subject) -> None:
    built = task(reader, "a b a c a b a b", n_examples=1, seed=1)
    perfect = log_shares({2: 0.75, 3: 0.25})
    rows = torch.tensor([[2, 3]]), torch.tensor([[0.75, 0.25]])
    assert float(bigram_kl(perfect, *rows)) == pytest.approx(0, abs=1e-6)
    shares = dict(zip(built.fields["unigrams"], built.fields["unigram_shares"], strict=True))
    assert float(unigram_kl(log_shares(shares), *(built.fields[f] for f in ("unigrams", "unigram_shares")))) == \
        pytest.approx(0, abs=1e-6)  # fmt: skip


def test_equals_scipys_relative_entropy() -> None:
    logits = torch.randn(1, 1, 12, generator=torch.Generator().manual_seed(0))
    predicted = logits[0, 0].softmax(-1).numpy()
    shares = [0.0, 0.5, 0.3, 0.2] + [0.0] * 8
    expected = scipy.stats.entropy(shares, predicted)
    assert float(unigram_kl(logits, (1, 2, 3), (0.5, 0.3, 0.2))) == pytest.approx(expected, rel=1e-5)
    padded = torch.tensor([[1, 2, 3, 0]]), torch.tensor([[0.5, 0.3, 0.2, 0.0]])
    assert float(bigram_kl(logits, *padded)) == pytest.approx(expected, rel=1e-5)
    crossed = expected + scipy.stats.entropy(shares)
    assert float(bigram_score(logits, *padded)) == pytest.approx(crossed, rel=1e-5)


def test_chance_is_the_vocabulary_less_the_entropy() -> None:
    uniform = torch.zeros(2, 1, 12)
    expected = math.log(12) - scipy.stats.entropy([0.5, 0.3, 0.2])
    assert unigram_kl(uniform, (1, 2, 3), (0.5, 0.3, 0.2)).tolist() == pytest.approx([expected] * 2)


def test_a_model_of_unigrams_is_near_them_and_far_from_bigrams(reader: Subject) -> None:
    """The control: it knows how often tokens occur and not what follows what."""
    built = task(reader, " ".join("abcd"[i % 4] for i in range(80)), n_examples=8)
    shares = dict(zip(built.fields["unigrams"], built.fields["unigram_shares"], strict=True))
    logits = log_shares(shares).expand(8, -1, -1)
    assert unigram_kl(logits, built.fields["unigrams"], built.fields["unigram_shares"]).abs().max() < 1e-5
    divergence = bigram_kl(logits, built.fields["successors"], built.fields["successor_shares"])
    assert divergence.tolist() == pytest.approx([math.log(4)] * 8, rel=0.02)


def test_logits_that_are_no_numbers_and_inputs_unchanged() -> None:
    broken = torch.full((1, 1, 12), float("nan"))
    ids, shares = torch.tensor([[1, 2]]), torch.tensor([[0.5, 0.5]])
    before = broken.clone(), ids.clone(), shares.clone()
    assert bigram_kl(broken, ids, shares).isnan().all()
    assert bigram_score(broken, ids, shares).isnan().all()
    assert unigram_kl(broken, (1,), (1.0,)).isnan().all()
    assert torch.equal(ids, before[1])
    assert torch.equal(shares, before[2])


def test_a_text_too_short_says_so(reader: Subject) -> None:
    with pytest.raises(UsageError, match=r"no token of .*text\.txt is followed by another 20 times"):
        task(reader, "a b c", least=20)
