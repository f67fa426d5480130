"""What the benchmarks measure: series of GPT-NeoX with random weights in the shapes of Pythia, and their inputs."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GPTNeoXConfig
from transformers.utils.logging import disable_progress_bar

import dynamics
from dynamics import checkpoint
from dynamics.tasks import Subject, Task, build_task

D_VOCAB, N_CTX = 50304, 2048
SHAPES = {
    "small": {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512},
    "70m": {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 2048},
    "160m": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}
SCORES = [
    "prefix_matching", "prefix_matching_entry_mean", "induction_score", "duplicate_token_attention",
    "previous_token_attention", "current_token_attention", "first_token_attention", "first_token_sink",
]  # fmt: skip
SPREAD = ["attention_entropy", "attention_entropy_normalised", "attention_distance"]
LOSSES = ["loss", "loss_by_position", "in_context_learning_score"]

Inputs = dict[str, dict]
measure = dynamics.measure  # loads what a sweep needs now, so that no first one is charged for it


@contextmanager
def series_of(shape: str, checkpoints: int) -> Iterator[Path]:
    """A folder `series` of checkpoints that are all the same random weights, and `text.txt` beside it."""
    torch.set_num_threads(1)
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        torch.manual_seed(0)
        config = GPTNeoXConfig(
            **SHAPES[shape], vocab_size=D_VOCAB, max_position_embeddings=N_CTX, bos_token_id=0, eos_token_id=0
        )
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float16)
        first = folder / "series" / "step0"
        model.save_pretrained(first)
        words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(D_VOCAB)}, unk_token="w0"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        words.save(str(first / "tokenizer.json"))
        for step in range(1, checkpoints):
            (folder / "series" / f"step{step}").symlink_to(first, target_is_directory=True)
        drawn = torch.randint(1, D_VOCAB, (128 * 512,)).tolist()
        (folder / "text.txt").write_text(" ".join(f"w{i}" for i in drawn), "utf-8")
        yield folder


def inputs(folder: Path, windows: int, repeats: int) -> Inputs:
    """Settings of the tasks: windows of 512 tokens of text, and repeated sequences of 100."""
    return {"text": {"n_examples": windows, "path": str(folder / "text.txt")},
            "repeated_tokens": {"n_examples": repeats}}  # fmt: skip


def tasks(folder: Path, settings: Inputs) -> list[Task]:
    """The inputs that a sweep with these settings measures on."""
    subject = Subject(D_VOCAB, N_CTX, 0, folder / "series" / "step0" / "tokenizer.json")
    return [build_task(name, chosen, subject) for name, chosen in settings.items()]


def n_tokens(settings: Inputs) -> int:
    """Tokens of one checkpoint, start tokens included."""
    return settings["text"]["n_examples"] * 513 + settings["repeated_tokens"]["n_examples"] * 101


def sweep(folder: Path, settings: Inputs, metrics: Sequence[str]) -> None:
    """A measured series: hashing, strict loading, the self-check, the store, all of it."""
    checkpoint._hash_file.cache_clear()  # each sweep pays for its own
    with tempfile.TemporaryDirectory() as out:
        measure(dynamics.open_series(f"folder:{folder / 'series'}"), metrics, out=out,
                settings=dynamics.Settings(tasks=settings))  # fmt: skip


def ratios(jobs: dict[str, Callable[[], float | None]], rounds: int) -> tuple[dict[str, float], float]:
    """Each job's seconds over those of the first, the median of rounds in which all take turns, and the first's own.

    Seconds are the process's own processor seconds, or what a job says that another process took.
    """
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.process_time()
            elsewhere = job()
            taken[name].append(time.process_time() - start if elsewhere is None else elsewhere)
    first = next(iter(taken.values()))
    over = {name: statistics.median(s / f for s, f in zip(own, first, strict=True)) for name, own in taken.items()}
    return over, statistics.median(first)


def line(what: str, ratio: float, target: float, *, least: bool = False) -> str:
    """One ratio, marked where it misses its target."""
    missed = ratio < target if least else ratio > target
    return f"{ratio:6.2f}  ({'at least' if least else 'at most'} {target:.2f}{', MISSED' if missed else ''})  {what}"


def peak(module: str, *arguments: str) -> float:
    """Peak resident megabytes of `_alone(*arguments)` of a benchmark, in a process of its own."""
    code = f"import sys; from tests.benchmarks import {module}; {module}._alone(*sys.argv[1:])"
    command = [sys.executable, "-c", code, *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def say_peak() -> None:
    """Print this process's peak, as the last line."""
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
