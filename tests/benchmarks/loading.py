"""Going through a series: from_pretrained each time against swapping weights, and downloads behind the measuring.

Each method runs in a process of its own, on one thread, over the same three random GPT-NeoX checkpoints of Pythia's
sizes, twice, in float32. What counts is the processor time of loading and one short pass, less that of the pass alone,
and the peak of memory that is not a mapped file, beyond one model's own; the loop is a plain one, so that the model
before is let go when the next one is there. TransformerLens takes part where it is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig

from dynamics.checkpoint import Files, files_in, open_weights
from dynamics.model import SeriesModel

SIZES = {"70M": (6, 512, 8), "160M": (12, 768, 12)}  # layers, width, heads
DTYPES = {"float16": torch.float16, "float32": torch.float32}
STEPS, ROUNDS = 3, 2
TOKENS = torch.arange(64)[None]
OURS, MAPPED = "swap (copied: torch files)", "swap (mapped: safetensors)"
THEIRS, LENS = "from_pretrained", "TransformerLens"


def main() -> Iterator[str]:
    """The lines to print."""
    with tempfile.TemporaryDirectory() as folder:
        for size, shape in SIZES.items():
            for dtype, kind in DTYPES.items():
                place = Path(folder) / f"{size}-{dtype}"
                _save(place, shape, kind)
                methods = [THEIRS, OURS, MAPPED] + [LENS] * (find_spec("transformer_lens") is not None)
                found = {method: _apart(method, place) for method in methods}
                yield from _lines(f"{size} {dtype}", found)
                for path in place.rglob("*"):
                    path.unlink() if path.is_file() else None
    yield from _behind()


def _lines(what: str, found: dict[str, dict[str, float]]) -> Iterator[str]:
    base = found[THEIRS]
    for method, result in found.items():
        yield (
            f"load {what} on disk, {method}: {result['cpu'] * 1000:.0f} ms a checkpoint "
            f"({result['cpu'] / base['cpu']:.2f} of from_pretrained), {result['memory'] / 1e6:.0f} MB extra at peak "
            + (f"({result['memory'] / base['memory']:.2f})" if base["memory"] > 1e7 else "(theirs takes none)")
        )


def _save(place: Path, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    layers, width, heads = shape
    config = GPTNeoXConfig(
        num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width,
        vocab_size=50304, max_position_embeddings=2048, rotary_pct=0.25, use_parallel_residual=True,
    )  # fmt: skip
    for step in range(STEPS):
        torch.manual_seed(step)
        AutoModelForCausalLM.from_config(config).to(dtype).save_pretrained(place / f"step{step}")


def _apart(method: str, place: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.loading", method, str(place)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


def measure_method(method: str, place: Path) -> dict[str, float]:
    """Median processor seconds a checkpoint, without the first, and peak bytes of memory beyond the start's."""
    torch.set_num_threads(1)
    load = {THEIRS: _from_pretrained, OURS: _swap(False), MAPPED: _swap(True), LENS: _lens}[method]
    paths = [place / f"step{step}" for step in range(STEPS)] * ROUNDS
    for path in paths[:STEPS]:  # warm page cache for all
        next(path.glob("*.safetensors")).read_bytes()
    times = []
    with _PeakMemory() as memory, torch.inference_mode():
        for path in paths:
            began = time.process_time()
            model = load(path)
            model(TOKENS)
            whole = time.process_time() - began
            began = time.process_time()
            model(TOKENS)
            times.append(whole - (time.process_time() - began))
        own = sum(parameter.numel() * 4 for parameter in model.parameters())
    return {"cpu": sorted(times[1:])[len(times[1:]) // 2], "memory": max(0, memory.peak - own)}


def _from_pretrained(path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def _swap(immutable: bool) -> Callable[[Path], Any]:
    held: list[SeriesModel] = []

    def load(path: Path) -> Any:
        files = files_in(path)
        # The hash is computed while the checkpoint before is measured; here it is given.
        known = {weight: "0" * 64 for weight in files.weights}
        weights = open_weights(Files(files.weights, files.config, digests=known, immutable=immutable))
        if held:
            held[0].load(weights)
        else:
            held.append(SeriesModel(weights))
        return held[0].module

    return load


def _lens(path: Path) -> Any:
    from transformer_lens import HookedTransformer  # pyright: ignore[reportMissingImports]

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    return HookedTransformer.from_pretrained("pythia-70m" if "70M" in str(path) else "pythia-160m", hf_model=model)


class _PeakMemory:
    """The highest anonymous memory of this process above where it began, looked at every few milliseconds."""

    def __enter__(self) -> _PeakMemory:
        self.start = self.now()
        self.peak, self.stopped = 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()

    def watch(self) -> None:
        while not self.stopped.wait(0.003):
            self.peak = max(self.peak, self.now() - self.start)

    def now(self) -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) * 1024


def _behind() -> Iterator[str]:
    """A sweep from a hub that takes as long to send a checkpoint as measuring it takes."""
    from tests.hub_stand_in import StandIn

    torch.set_num_threads(1)  # the hub, the client and the hashing are in this process too
    with tempfile.TemporaryDirectory() as folder:
        hub = StandIn()
        os.environ |= {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": f"{folder}/cache"}
        config = GPTNeoXConfig(num_hidden_layers=6, hidden_size=256, num_attention_heads=4, intermediate_size=1024,
                               vocab_size=4096, max_position_embeddings=512, bos_token_id=0)  # fmt: skip
        n = 16
        for step in range(n):
            torch.manual_seed(step)
            path = Path(folder) / f"step{step}"
            AutoModelForCausalLM.from_config(config).save_pretrained(path)
            files = {file.name: file.read_bytes() for file in path.iterdir()}
            hub.repo("bench/series").commit(files, branch=f"step{1000 * step}")
        size = len(files["model.safetensors"])
        here, _ = _sweep(f"folder:{folder}", Path(folder) / "here")
        hub.bytes_per_second = size / (here / n)
        there, asked = _sweep("hub:bench/series", Path(folder) / "there")
        hub.close()
    download = n * size / hub.bytes_per_second
    yield (
        f"sweep of {n} checkpoints of {size / 1e6:.0f} MB: measuring alone {here:.1f} s, downloading alone "
        f"{download:.1f} s, both {there:.1f} s: {there / max(here, download):.2f} of the longer "
        f"({asked:.1f} s of listing and audit before it)"
    )


def _sweep(locator: str, out: Path) -> tuple[float, float]:
    import dynamics

    began = time.perf_counter()
    series = dynamics.open_series(locator)
    listed = time.perf_counter() - began
    began = time.perf_counter()
    tasks = {"repeated_tokens": {"n_examples": 16}}
    dynamics.measure(series, ["prefix_matching"], out=out, settings=dynamics.Settings(tasks))
    return time.perf_counter() - began, listed


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.stdout.write(json.dumps(measure_method(sys.argv[1], Path(sys.argv[2]))) + "\n")
    else:
        for line in main():
            sys.stdout.write(line + "\n")
