"""What measuring costs beside the bare model: time and memory of a sweep over those of plain forward passes.

The floor of a sweep is, for each checkpoint, one fused forward pass over the same tokens, logits included, and one
read of the weights. One thread. Run: python -m tests.benchmarks sweep, or python -m tests.benchmarks.sweep 70m
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests.benchmarks._series import (
    LOSSES,
    SCORES,
    SPREAD,
    Inputs,
    inputs,
    line,
    n_tokens,
    peak,
    ratios,
    say_peak,
    series_of,
    sweep,
    tasks,
)

GROUPS = {
    "attention scores and loss at every position": (SCORES + LOSSES, 1.15),
    "the same with entropy and distance": (SCORES + SPREAD + LOSSES, 1.4),
    "attention scores and the in-context score": ([*SCORES, "in_context_learning_score"], 0.55),
}
SHAPES = ("70m", "160m")
CHECKPOINTS, WINDOWS, REPEATS, ROUNDS = 6, 4, 20, 2


def main(shapes: tuple[str, ...] = SHAPES) -> Iterator[str]:
    """A line for each ratio, with its target."""
    for shape in shapes:
        with series_of(shape, CHECKPOINTS) as folder:
            settings = inputs(folder, WINDOWS, REPEATS)
            model = bare_model(folder)
            jobs = {"bare": partial(bare, model, folder, settings)}
            jobs |= {name: partial(sweep, folder, settings, metrics) for name, (metrics, _) in GROUPS.items()}
            over, seconds = ratios(jobs, ROUNDS)
            for name, (_, target) in GROUPS.items():
                yield line(f"{shape}, time: {name}", over[name], target)
            peaks = [peak("sweep", kind, str(folder), json.dumps(settings)) for kind in ("bare", "sweep")]
            yield line(f"{shape}, peak memory: all of these", peaks[1] / peaks[0], 1.3)
            every = CHECKPOINTS * n_tokens(settings)
            yield f"        {shape}: {CHECKPOINTS} checkpoints of {n_tokens(settings)} tokens; the bare model takes " \
                  f"{seconds:.1f} s ({every / seconds:.0f} tokens/s) and {peaks[0]:.0f} MB"  # fmt: skip


def bare(model: PreTrainedModel, folder: Path, settings: Inputs) -> None:
    """The floor: read each checkpoint into the module, and run it over the same batches, logits included."""
    chosen = tasks(folder, settings)
    slots = model.state_dict()
    for checkpoint in sorted((folder / "series").iterdir()):
        for name, tensor in load_file(checkpoint / "model.safetensors").items():
            slots[name.replace("embed_out", "lm_head")].copy_(tensor)
        with torch.inference_mode():
            for task in chosen:
                for batch in task.batches(torch.device("cpu")):
                    model(input_ids=batch["tokens"], use_cache=False)


def bare_model(folder: Path) -> PreTrainedModel:
    """The model as transformers builds it, with its fused attention."""
    path = folder / "series" / "step0"
    model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="sdpa", dtype=torch.float32)
    return model.eval().requires_grad_(False)


def _alone(kind: str, place: str, settings: str) -> None:
    torch.set_num_threads(1)
    folder = Path(place)
    if kind == "bare":
        bare(bare_model(folder), folder, json.loads(settings))
    else:
        sweep(folder, json.loads(settings), SCORES + SPREAD + LOSSES)
    say_peak()


if __name__ == "__main__":
    for said in main(tuple(sys.argv[1:]) or SHAPES):
        print(said, flush=True)
