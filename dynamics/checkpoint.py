"""Checkpoints: what names one, the files that hold it, and how its weights are hashed and opened.

Checkpoints come from strangers. Tensors are read from safetensors files or by torch's restricted unpickler, mapped
into memory where the format allows; a file that would have to run code is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dynamics.errors import CheckpointError, UnsafeCheckpoint

SAFETENSORS_INDEX = "model.safetensors.index.json"
TORCH_INDEX = "pytorch_model.bin.index.json"
TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
# A trainer's folder also holds its optimizer and random state, which are no weights.
NOT_WEIGHTS = ("optimizer", "scheduler", "rng_state", "training", "scaler")

# Bytes of a file that are mapped at once for its hash.
MAPPED = 1 << 24

# Where training scripts put the state dict inside what they save.
STATE_DICT_KEYS = ("model_state_dict", "state_dict", "model")
# What stands beside it: nanoGPT's sizes, TransformerLens' configuration, without which GELU would pass for ReLU.
SETTINGS_KEYS = ("model_args", "config", "cfg")
SETTLED = 60.0  # seconds after which a torch file is taken for finished
# What helps where a file cannot be read.
AGAIN = "download or save it again"
PUBLISHED_SO = "it has the hash that is published for it, so it was published like this, and this step has no weights"


@dataclass(frozen=True)
class Checkpoint:
    """One point of a training history, as its source lists it."""

    series: str
    step: int
    stage: str = ""
    tokens_seen: int | None = None
    revision: str = ""

    def __str__(self) -> str:
        return f"{self.series} {self.stage + ' ' if self.stage else ''}step {self.step}"


@dataclass(frozen=True)
class Files:
    """The local files of one checkpoint. `digests` are the SHA-256 of those that their source has already hashed."""

    weights: tuple[Path, ...]
    config: Path | None = None
    tokenizer: Path | None = None
    digests: Mapping[Path, str] = field(default_factory=dict, compare=False)
    opened: Callable[[], Weights] | None = field(default=None, compare=False)  # for files that hold many steps
    immutable: bool = False  # nothing writes into these files, so that their tensors may stay mapped into memory
    code: Path | None = None  # the folder of the Python files that came along, where these may be run
    bos: int | None = None  # the token that starts a text, where it is known that the configuration names another


@dataclass(frozen=True)
class Weights:
    """The opened weights of one checkpoint: tensors under the names of the file, and the hash of what was read.

    `settings` is what is known of the architecture, beside `config`, and cannot be told from the tensors.
    """

    tensors: Mapping[str, Tensor]
    sha: str
    n_bytes: int
    dtype: str
    config: Mapping[str, Any] | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    immutable: bool = False
    stamps: Mapping[Path, tuple[int, int]] = field(default_factory=dict)
    code: Path | None = None

    def check_unchanged(self) -> None:
        """Raise `CheckpointError` if a file was written to since it was opened; one that was deleted stays mapped."""
        for path, stamp in self.stamps.items():
            if path.exists() and _stamp(path) != stamp:
                msg = f"{path} was written to while it was measured; measure it again when nothing writes there"
                raise CheckpointError(msg)

    @classmethod
    def of(
        cls,
        tensors: Mapping[str, Tensor],
        sha: str,
        n_bytes: int,
        *,
        config: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        immutable: bool = False,
        stamps: Mapping[Path, tuple[int, int]] | None = None,
        code: Path | None = None,
    ) -> Weights:
        """Weights with the dtypes that their tensors have."""
        kinds = {str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.is_floating_point()}
        return cls(tensors, sha, n_bytes, ", ".join(sorted(kinds)), config, settings or {}, immutable, stamps or {},
                   code)  # fmt: skip


def open_weights(files: Files) -> Weights:
    """Hash and open a checkpoint's weights.

    Raises `UnsafeCheckpoint` for files that only unpickling arbitrary objects could open, and `CheckpointError` for
    missing, truncated or foreign ones.
    """
    if files.opened is not None:
        return files.opened()
    if not files.weights:
        msg = "no weight file; expected *.safetensors or pytorch_model*.bin; download the checkpoint again"
        raise CheckpointError(msg)
    stamps = {path: _stamp(path) for path in files.weights if path.exists()}
    tensors: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}
    for path in files.weights:
        tensors.update(_read(path, settings, PUBLISHED_SO if path in files.digests else AGAIN))
    if not tensors:
        msg = f"{files.weights[0]} holds no tensors; expected a state dict, name -> tensor"
        raise CheckpointError(msg)
    return Weights.of(
        tensors,
        hash_files(files.weights, files.digests),
        sum(path.stat().st_size for path in files.weights),
        config=read_json(files.config) if files.config else None,
        settings=settings,
        immutable=files.immutable,
        stamps=stamps,
        code=files.code,
    )


def _stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


def hash_files(paths: Sequence[Path], known: Mapping[Path, str] | None = None) -> str:
    """SHA-256 of a weight file, the hash that hubs publish; of the hashes of the shards where there are several."""
    ordered = sorted(paths, key=lambda path: path.name)
    return hash_digests([(known or {}).get(path) or hash_file(path) for path in ordered])


def hash_digests(digests: Sequence[str]) -> str:
    """The hash of a checkpoint's weights from those of its files, in order of their names."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values, for weights that have no file of their own."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content; of a file that was hashed before and not written to since, remembered."""
    state = path.stat()
    return _hash_file(path, (state.st_ino, state.st_ctime_ns, state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=16)  # a sweep opens the checkpoint that it builds its model from, and those it refers to, twice
def _hash_file(path: Path, state: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        if path.suffix != ".safetensors":
            return hashlib.file_digest(file, "sha256").hexdigest()
        # Mapped, as the tensors are, and a part at a time: to copy it costs an eighth more.
        digest, size = hashlib.sha256(), state[-1]
        for start in range(0, size, MAPPED):
            with mmap(file.fileno(), min(MAPPED, size - start), access=ACCESS_READ, offset=start) as part:
                digest.update(part)
        return digest.hexdigest()


def files_in(folder: Path) -> Files:
    """The files of a checkpoint saved as a folder; safetensors before torch files, never both."""
    config, tokenizer = folder / "config.json", folder / "tokenizer.json"
    weights = _weight_files(folder)
    return Files(
        weights, config if config.exists() else None, tokenizer if tokenizer.exists() else None,
        immutable=are_settled(weights),
    )  # fmt: skip


def are_settled(paths: Sequence[Path]) -> bool:
    """Whether files may stay mapped: a trainer writes each checkpoint once, and whoever does not is found out.

    Safetensors are written when a checkpoint is complete; torch files, such as nanoGPT's `ckpt.pt`, may be written over
    and over, and count once nobody has written to them for a minute.
    """
    now = time.time()
    return all(path.suffix == ".safetensors" or now - path.stat().st_mtime > SETTLED for path in paths)


def _weight_files(folder: Path) -> tuple[Path, ...]:
    for single, index in (("model.safetensors", SAFETENSORS_INDEX), ("pytorch_model.bin", TORCH_INDEX)):
        if (folder / single).exists():
            return (folder / single,)
        if (folder / index).exists():
            return _shards(folder, index)
    others = [path for path in sorted(folder.glob("*")) if path.suffix in (".safetensors", *TORCH_SUFFIXES)]
    others = [path for path in others if not path.name.startswith(NOT_WEIGHTS)]
    return tuple(others) if len(others) == 1 else ()


def _shards(folder: Path, index: str) -> tuple[Path, ...]:
    names = sorted(set(read_json(folder / index).get("weight_map", {}).values()))
    for name in names:
        if Path(name).name != name:
            msg = f"{folder / index} points outside its folder, at {name!r}; expected plain file names"
            raise UnsafeCheckpoint(msg)
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        msg = f"{folder} lacks {len(missing)} of {len(names)} weight files, first {missing[0]!r}; download it again"
        raise CheckpointError(msg)
    return tuple(folder / name for name in names)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that comes with a checkpoint."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        msg = f"cannot read {path}: {error}; expected JSON; download it again"
        raise CheckpointError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} holds a JSON {type(content).__name__}; expected an object"
        raise CheckpointError(msg)
    return content


def _read(path: Path, settings: dict[str, Any], remedy: str) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            msg = f"cannot read {path}: {error}; the file is truncated or damaged: {remedy}"
            raise CheckpointError(msg) from error
    content = _load_torch(path, remedy)
    beside = content if isinstance(content, Mapping) else {}
    for key in SETTINGS_KEYS:
        if isinstance(beside.get(key), Mapping):
            settings.update(beside[key])
    return _state_dict(content, path)


def _load_torch(path: Path, remedy: str) -> object:
    try:
        with path.open("rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"
        # Only the zip format can be mapped; files from before torch 1.6 are read whole.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # the unpickler raises whatever the bytes lead it to
        named = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        if named:
            msg = (
                f"{path} is a pickle of whole Python objects ({named[1]}), and opening it would run a stranger's "
                "code; nothing was run. Expected tensors only: save model.state_dict(), best as safetensors"
            )
            raise UnsafeCheckpoint(msg) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"cannot read {path}: {reason}; the file is truncated, damaged or no torch file: {remedy}"
        raise CheckpointError(msg) from error


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    """The name -> tensor part of what a training script saved."""
    if isinstance(content, Mapping):
        inner = next((content[key] for key in STATE_DICT_KEYS if isinstance(content.get(key), Mapping)), content)
        tensors = {name: value for name, value in inner.items() if isinstance(value, Tensor)}
        if len(tensors) == len(inner):
            return tensors
    msg = (
        f"{path} holds {type(content).__name__}, not a state dict; expected name -> tensor, alone or under one of "
        f"{', '.join(STATE_DICT_KEYS)}"
    )
    raise CheckpointError(msg)
