"""What measuring costs beside the bare model: time and memory of a sweep over those of plain forward passes.

The floor of a sweep is, for each checkpoint, one fused forward pass over the same tokens, logits included, and one
read of the weights. Seconds are the process's own processor seconds with one thread, the least of several interleaved
repeats, so that a busy machine moves them little. Run: python -m tests.benchmarks.sweep
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GPTNeoXConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

import dynamics
from dynamics.tasks import Subject, Task, build_task

# The shape of Pythia-70m.
SIZES = {
    "hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 2048,
    "vocab_size": 50304, "max_position_embeddings": 2048, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
SCORES = [
    "prefix_matching", "prefix_matching_entry_mean", "induction_score", "duplicate_token_attention",
    "previous_token_attention", "current_token_attention", "first_token_attention", "first_token_sink",
]  # fmt: skip
SPREAD = ["attention_entropy", "attention_entropy_normalised", "attention_distance"]
LOSSES = ["loss", "loss_by_position", "in_context_learning_score"]
GROUPS = {
    "attention scores and loss at every position": (SCORES + LOSSES, 1.15),
    "the same with entropy and distance": (SCORES + SPREAD + LOSSES, 1.4),
    "attention scores and the in-context score": ([*SCORES, "in_context_learning_score"], 0.55),
}


def main(checkpoints: int = 6, examples: int = 4, repeats: int = 2) -> None:
    """Print each ratio with its target. `examples` are windows of 512 tokens, and five times as many repeats of 100."""
    torch.set_num_threads(1)
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        series = write_series(Path(folder), checkpoints)
        settings = {"text": {"n_examples": examples, "path": str(Path(folder) / "text.txt")},
                    "repeated_tokens": {"n_examples": 5 * examples}}  # fmt: skip
        model = bare_model(series)
        jobs = {"bare model": lambda: bare(model, series, settings)}
        for name, (metrics, _) in GROUPS.items():
            jobs[name] = lambda metrics=metrics: sweep(series, settings, metrics)
        seconds = interleaved(jobs, repeats)
        for name, (_, target) in GROUPS.items():
            report(f"time: {name}", seconds[name] / seconds["bare model"], target)
        peaks = {kind: peak_memory(kind, series, settings) for kind in ("bare", "sweep")}
        report("peak memory: all of these", peaks["sweep"] / peaks["bare"], 1.3)
    per = checkpoints * examples * (513 + 5 * 101)
    print(f"70M GPT-NeoX, {checkpoints} checkpoints, {examples} x 513 + {5 * examples} x 101 tokens each; bare "
          f"model {seconds['bare model']:.1f} s ({per / seconds['bare model']:.0f} tokens/s), {peaks['bare']:.0f} MB")


def report(what: str, ratio: float, target: float) -> None:
    """One line, marked where the target is missed."""
    print(f"{ratio:6.2f}  (target {target:.2f}{'' if ratio <= target else ', MISSED'})  {what}", flush=True)


def write_series(folder: Path, checkpoints: int) -> Path:
    """A series whose every checkpoint is the same random weights, with a tokenizer of numbered words and a text."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(GPTNeoXConfig(**SIZES), dtype=torch.float16)
    series = folder / "series"
    first = series / "step0"
    model.save_pretrained(first)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(SIZES["vocab_size"])}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(first / "tokenizer.json"))
    for step in range(1, checkpoints):
        (series / f"step{step}").symlink_to(first, target_is_directory=True)
    drawn = torch.randint(1, SIZES["vocab_size"], (64 * 512,)).tolist()
    (folder / "text.txt").write_text(" ".join(f"w{i}" for i in drawn), "utf-8")
    return series


def tasks(series: Path, settings: dict[str, dict]) -> list[Task]:
    """The inputs that the sweep measures on."""
    subject = Subject(SIZES["vocab_size"], 2048, 0, series / "step0" / "tokenizer.json")
    return [build_task(name, chosen, subject) for name, chosen in settings.items()]


def bare(model: PreTrainedModel, series: Path, settings: dict[str, dict]) -> None:
    """The floor: read each checkpoint into the module, and run it over the same batches, logits included."""
    inputs = tasks(series, settings)
    slots = model.state_dict()
    for folder in sorted(series.iterdir()):
        for name, tensor in load_file(folder / "model.safetensors").items():
            slots[name.replace("embed_out", "lm_head")].copy_(tensor)
        with torch.inference_mode():
            for task in inputs:
                for batch in task.batches(torch.device("cpu")):
                    model(input_ids=batch["tokens"], use_cache=False)


def bare_model(series: Path) -> PreTrainedModel:
    """The model as transformers builds it, with its fused attention."""
    model = AutoModelForCausalLM.from_pretrained(series / "step0", attn_implementation="sdpa", dtype=torch.float32)
    return model.eval().requires_grad_(False)


def sweep(series: Path, settings: dict[str, dict], metrics: list[str]) -> None:
    """The same through the library: hashing, strict loading, the self-check, the store, all of it."""
    with tempfile.TemporaryDirectory() as out:
        dynamics.measure(dynamics.open_series(f"folder:{series}"), metrics, out=out,
                         settings=dynamics.Settings(tasks=settings))  # fmt: skip


def interleaved(jobs: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """The least processor seconds of each job, the jobs taking turns."""
    best: dict[str, float] = {}
    for _ in range(repeats):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            best[name] = min(best.get(name, float("inf")), time.process_time() - start)
    return best


def peak_memory(kind: str, series: Path, settings: dict[str, dict]) -> float:
    """Peak resident megabytes of one job in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.sweep", kind, str(series), json.dumps(settings)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def _alone(kind: str, series: Path, settings: dict[str, dict]) -> None:
    torch.set_num_threads(1)
    if kind == "bare":
        bare(bare_model(series), series, settings)
    else:
        sweep(series, settings, SCORES + LOSSES)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _alone(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))
    else:
        main()
