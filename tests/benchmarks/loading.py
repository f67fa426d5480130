"""Going through a series: from_pretrained each time against swapping weights, and downloads behind the measuring.

Each method runs in a process of its own, on one thread, over the same three random GPT-NeoX checkpoints of Pythia's
sizes, twice, in float32. What counts is the processor time of loading and one short pass, less that of the pass alone,
and the peak of memory that is not a mapped file, beyond one model's own; the loop is a plain one, so that the model
before is let go when the next one is there. TransformerLens takes part where it is installed, here or in the
environment whose interpreter TRANSFORMER_LENS names: it boots a bridge from each checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPTNeoXConfig

if TYPE_CHECKING:
    from dynamics.model import SeriesModel

SIZES = {"70M": (6, 512, 8), "160M": (12, 768, 12)}  # layers, width, heads
DTYPES = {"float16": torch.float16, "float32": torch.float32}
STEPS, ROUNDS = 3, 2
TOKENS = torch.arange(64)[None]
MAPPED, TORCH = "swap (mapped: safetensors)", "swap (mapped: torch files)"
FRESH = "swap (copied: torch files written within the last minute)"
STREAMED = "swap (mapped, layers brought one by one: device_map='disk')"
THEIRS, THEIR_TORCH, LENS = "from_pretrained", "from_pretrained (torch files)", "TransformerLens"
BESIDE = "torch"  # the subfolder with the same weights as torch files


def main() -> Iterator[str]:
    """The lines to print."""
    yield from _load()
    yield from _behind()


def _load() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        lens = _lens_interpreter()
        if lens is None:
            yield "load, TransformerLens: skipped, neither installed here nor in an environment TRANSFORMER_LENS names"
        for size, shape in SIZES.items():
            for dtype, kind in DTYPES.items():
                place = Path(folder) / f"{size}-{dtype}"
                _save(place, shape, kind)
                methods = (THEIRS, THEIR_TORCH, MAPPED, TORCH, FRESH, STREAMED)
                found = {method: _apart(method, place) for method in methods}
                if lens is not None:
                    found[LENS] = _apart(LENS, place, lens)
                yield from _lines(f"{size} {dtype}", found)
                for path in place.rglob("*"):
                    path.unlink() if path.is_file() else None


def _lines(what: str, found: dict[str, dict[str, float]]) -> Iterator[str]:
    base = found[THEIRS]
    for method, result in found.items():
        yield (
            f"load {what} on disk, {method}: {result['cpu'] * 1000:.0f} ms a checkpoint "
            f"({result['cpu'] / base['cpu']:.2f} of from_pretrained), {result['memory'] / 1e6:.0f} MB extra at peak "
            + (f"({result['memory'] / base['memory']:.2f})" if base["memory"] > 1e7 else "(theirs takes none)")
            + f", {result['peak'] / 1e6:.0f} MB with the model"
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
        beside = place / f"step{step}" / BESIDE
        beside.mkdir()
        torch.save(load_file(place / f"step{step}" / "model.safetensors"), beside / "pytorch_model.bin")
        shutil.copy(place / f"step{step}" / "config.json", beside)


def _lens_interpreter() -> str | None:
    named = os.environ.get("TRANSFORMER_LENS")
    return named or (sys.executable if find_spec("transformer_lens") else None)


def _apart(method: str, place: Path, interpreter: str = sys.executable) -> dict[str, float]:
    command = [interpreter, "-m", "tests.benchmarks.loading", method, str(place)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


def measure_method(method: str, place: Path) -> dict[str, float]:
    """Median processor seconds a checkpoint, without the first, and peak bytes of memory beyond the start's."""
    torch.set_num_threads(1)
    loaders: dict[str, Callable[[], Callable[[Path], Any]]] = {
        THEIRS: lambda: _from_pretrained, THEIR_TORCH: lambda: _from_pretrained, MAPPED: lambda: _swap(True),
        TORCH: lambda: _swap(True), FRESH: lambda: _swap(False), LENS: lambda: _lens,
        STREAMED: lambda: _swap(True, device_map="disk"),
    }  # fmt: skip
    load = loaders[method]()
    beside = BESIDE if method in (THEIR_TORCH, TORCH, FRESH) else ""
    paths = [place / f"step{step}" / beside for step in range(STEPS)] * ROUNDS
    for path in paths[:STEPS]:  # warm page cache for all
        next(file for file in path.iterdir() if file.suffix in (".safetensors", ".bin")).read_bytes()
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
    cpu = sorted(times[1:])[len(times[1:]) // 2]
    return {"cpu": cpu, "memory": max(0, memory.peak - own), "peak": memory.peak}


def _from_pretrained(path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def _swap(immutable: bool, **settings: Any) -> Callable[[Path], Any]:
    from dynamics.checkpoint import Files, files_in, open_weights
    from dynamics.model import SeriesModel

    held: list[SeriesModel] = []

    def load(path: Path) -> Any:
        files = files_in(path)
        # The hash is computed while the checkpoint before is measured; here it is given.
        known = {weight: "0" * 64 for weight in files.weights}
        weights = open_weights(Files(files.weights, files.config, digests=known, immutable=immutable))
        if held:
            held[0].load(weights)
        else:
            held.append(SeriesModel(weights, **settings))
        return held[0].module

    return load


def _lens(path: Path) -> Any:
    from transformer_lens.model_bridge import TransformerBridge  # pyright: ignore[reportMissingImports]

    return TransformerBridge.boot_transformers(str(path), device="cpu", dtype=torch.float32)


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
    """Sweeps from a hub that takes as long to send a checkpoint as measuring it takes."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        config = GPTNeoXConfig(num_hidden_layers=6, hidden_size=256, num_attention_heads=4, intermediate_size=1024,
                               vocab_size=4096, max_position_embeddings=512, bos_token_id=0)  # fmt: skip
        n = 16
        for step in range(n):
            torch.manual_seed(step)
            AutoModelForCausalLM.from_config(config).save_pretrained(Path(folder) / "series" / f"step{step}")
        size = (Path(folder) / "series" / "step0" / "model.safetensors").stat().st_size
        _sweep(f"folder:{folder}/series", Path(folder) / "warm")  # what is imported and compiled once
        for attempt in range(3):
            yield _race(Path(folder), attempt, n, size)


def _race(folder: Path, attempt: int, n: int, size: int) -> str:
    """Measuring alone, then the same with a hub whose sending alone takes as long."""
    here, _, _ = _sweep(f"folder:{folder}/series", folder / f"here{attempt}")
    rate = n * size / here
    os.environ["HF_HUB_CACHE"] = f"{folder}/cache{attempt}"
    command = [sys.executable, "-m", "tests.benchmarks.loading", "hub", f"{folder}/series", str(rate)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as hub:
        assert hub.stdout is not None
        os.environ["HF_ENDPOINT"] = hub.stdout.readline().strip()
        there, asked, waited = _sweep("hub:bench/series", folder / f"there{attempt}")
        hub.terminate()
    download = n * size / rate
    return (
        f"sweep of {n} checkpoints of {size / 1e6:.0f} MB, hub in its own process: measuring alone {here:.1f} s, "
        f"downloading alone {download:.1f} s, both {there:.1f} s: {there / max(here, download):.2f} of the longer, "
        f"{there / max(there - waited, download):.2f} by what measuring took in that run, which waited {waited:.1f} s "
        f"({asked:.1f} s of listing and audit before it; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors)"
    )


def serve_hub(folder: Path, rate: float) -> None:
    """The stand-in hub in a process of its own, until it is ended."""
    from tests.hub_stand_in import StandIn

    hub = StandIn()
    for path in folder.iterdir():
        files = {file.name: file.read_bytes() for file in path.iterdir()}
        hub.repo("bench/series").commit(files, branch=path.name)
    hub.bytes_per_second = rate
    sys.stdout.write(hub.url + "\n")
    sys.stdout.flush()
    threading.Event().wait()


def _sweep(locator: str, out: Path) -> tuple[float, float, float]:
    """Seconds of the sweep, of listing and audit before it, and of the sweep's own waiting for a checkpoint."""
    import dynamics

    began = time.perf_counter()
    series = dynamics.open_series(locator)
    listed = time.perf_counter() - began
    waited = 0.0
    wait = Future.exception

    def waiting(self: Future[Any], timeout: float | None = None) -> BaseException | None:
        nonlocal waited
        start = time.perf_counter()
        try:
            return wait(self, timeout)
        finally:
            waited += time.perf_counter() - start

    Future.exception = waiting
    began = time.perf_counter()
    tasks = {"repeated_tokens": {"n_examples": 64}}
    dynamics.measure(series, ["prefix_matching"], out=out, settings=dynamics.Settings(tasks))
    Future.exception = wait
    return time.perf_counter() - began, listed, waited


if __name__ == "__main__":
    if sys.argv[1:2] == ["hub"]:
        serve_hub(Path(sys.argv[2]), float(sys.argv[3]))
    elif sys.argv[1:2] in (["behind"], ["load"]):  # one half alone
        for line in _behind() if sys.argv[1] == "behind" else _load():
            sys.stdout.write(line + "\n")
    elif len(sys.argv) > 2:
        sys.stdout.write(json.dumps(measure_method(sys.argv[1], Path(sys.argv[2]))) + "\n")
    else:
        for line in main():
            sys.stdout.write(line + "\n")
