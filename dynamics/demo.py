"""The demo: train a two-layer attention-only transformer and its one-layer control, whose histories differ in one
thing: induction heads form in the first and cannot in the second (Olsson et al. 2022).

The language is made of passages of English words that are repeated, each with a length of its own between 8 and 32
words, so that the next word can be known only by finding the earlier copy: a fixed offset never leads there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor

from dynamics.architectures.small_transformer import SmallTransformer, SmallTransformerConfig
from dynamics.recipe import Recipe, SeriesEntry
from dynamics.training import train

WORDS = """
the a one her old small grey tall quiet cold bright wooden garden river house letter window road
hill stone door lamp boat song child teacher sailor farmer sister stranger walked looked turned
waited opened carried found remembered followed watched wrote painted slowly again never always then
today soon once in under over behind near without and but while because into across from toward
""".split()  # noqa: SIM905  (words are read more easily without their quotes)
START = "<start>"
LENGTH = 63  # words in a sequence, after the start
PERIODS = (8, 32)
STEPS = 800
N_CHECKPOINTS = 48  # of which the log axis leaves about forty different steps
SERIES = {"two-layer": 2, "one-layer": 1}

OnTraining = Callable[[str, int, int], None]


def language(seed: int) -> Iterator[np.ndarray]:
    """Sequences of word numbers (the start is 0): a passage of random length from a fixed bigram language, repeated."""
    grammar = np.random.default_rng(0).gumbel(size=(len(WORDS), len(WORDS)))  # the same language for every seed
    likelihood = np.exp(grammar - grammar.max(1, keepdims=True))
    cumulative = (likelihood / likelihood.sum(1, keepdims=True)).cumsum(1)
    random = np.random.default_rng(seed)
    while True:
        period = random.integers(PERIODS[0], PERIODS[1] + 1)
        passage = np.empty(period, dtype=np.int64)
        word = random.integers(len(WORDS))
        for i, chance in enumerate(random.random(period)):
            passage[i] = word
            word = min(int(np.searchsorted(cumulative[word], chance)), len(WORDS) - 1)
        yield np.resize(passage, LENGTH) + 1


def batches(seed: int, batch_size: int = 32) -> Iterator[Tensor]:
    """Batches [batch pos] of the language, each sequence after its start."""
    sequences = language(seed)
    while True:
        rows = np.stack([np.concatenate([[0], next(sequences)]) for _ in range(batch_size)])
        yield torch.from_numpy(rows)


def tokenizer() -> Tokenizer:
    """One token a word."""
    vocabulary = {word: number for number, word in enumerate([START, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=START))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def make_series(folder: Path, on_training: OnTraining = lambda *_: None, *, steps: int = STEPS) -> dict[str, Path]:
    """Train both models where their histories are not there yet, and write unseen text of the language beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    unseen = language(seed=1)
    lines = [" ".join(WORDS[number - 1] for number in next(unseen)) for _ in range(256)]
    (folder / "unseen.txt").write_text("\n".join(lines) + "\n", "utf-8")
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # matrices this small run slower on two
    try:
        for name, n_layers in SERIES.items():
            if not (folder / name / f"step{steps}").exists():
                _train(name, n_layers, folder / name, steps, on_training)
    finally:
        torch.set_num_threads(before)
    return {name: folder / name for name in SERIES}


def recipe(folders: dict[str, Path]) -> Recipe:
    """What the demo measures."""
    text = next(iter(folders.values())).parent / "unseen.txt"
    return Recipe(
        name="demo",
        title="Induction heads form in two layers, not in one",
        description=(
            "Two small language models read passages that repeat. To foretell a word of the second copy, a model has "
            "to find where the word before it stood in the first, and what followed there: a head that does so is an "
            "induction head. It needs a head in the layer below that tells it which word each word follows, so it can "
            "form in the model of two layers and not in its control, which has one."
        ),
        series=tuple(SeriesEntry(name=name, source=f"folder:{path}") for name, path in folders.items()),
        metrics=(
            "prefix_matching", "previous_token_attention", "duplicate_token_attention", "loss", "loss_by_position",
            "in_context_learning_score",
        ),
        tasks={"text": {"path": str(text), "documents": "lines", "n_examples": 256},
               "repeated_tokens": {"shortest": 10, "longest": 20, "n_examples": 64}},
    )  # fmt: skip


def _train(name: str, n_layers: int, folder: Path, steps: int, on_training: OnTraining) -> None:
    torch.manual_seed(0)
    config = SmallTransformerConfig(
        d_vocab=len(WORDS) + 1, n_ctx=LENGTH + 1, n_layers=n_layers, shortformer=True, embedding_std=0.6,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    train(
        SmallTransformer(config), batches(seed=0), folder, steps=steps, n_checkpoints=N_CHECKPOINTS,
        learning_rate=5e-3, tokenizer=tokenizer(), on_step=on_training,
    )  # fmt: skip
