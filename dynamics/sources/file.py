"""A file that holds many steps: the dictionaries that grokking runs are published as, read one step at a time.

Known are `{"checkpoints": [...], "checkpoint_epochs": [...]}` and `{"state_dicts": [...], "epochs": [...]}`. Objects
that are not tensors, such as the configuration of a library that is not installed, are read as empty shells: no code
of theirs is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dynamics.checkpoint import Checkpoint, Files, Weights, hash_tensors
from dynamics.errors import CheckpointError, UnsafeCheckpoint, UsageError
from dynamics.sources import Access, Series

WHAT = "a file of many state dicts: {'checkpoints': [...], 'checkpoint_epochs': [...]}, or 'state_dicts', 'epochs'"

LISTS = {"checkpoints": "checkpoint_epochs", "state_dicts": "epochs"}  # where the states are: where their steps are
_ZIP = b"PK\x03\x04"


class Shell:
    """Stands for an object whose class is not loaded; keeps its fields where the file gives any."""

    def __init__(self, *_: object, **__: object) -> None:
        """Whatever the file passes is dropped."""

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update({str(name): value for name, value in state.items()})


def open_source(place: str, series: str | None = None, access: Access | None = None) -> Series:  # noqa: ARG001
    """List the steps in a file. Their tensors stay on disk until their step is measured."""
    path = Path(place).expanduser()
    if not path.is_file():
        msg = f"no file at {place!r}; expected a torch file with a list of state dicts"
        raise UsageError(msg)
    name = series or path.stem
    try:
        content = load(path)
    except CheckpointError as error:
        raise UsageError(str(error)) from error
    states = _states(content, place)
    settings = _settings(content)

    def fetch(checkpoint: Checkpoint) -> Files:
        state = states[checkpoint.step]
        return Files((path,), opened=lambda: _weights(state, settings, f"{path} step {checkpoint.step}"))

    checkpoints = tuple(Checkpoint(name, step, revision=f"{path.name}[{step}]") for step in sorted(states))
    return Series(name, f"file:{place}", checkpoints, fetch)


def load(path: Path) -> Any:
    """The content of a torch file, with tensors mapped and unknown objects as shells."""
    try:
        with path.open("rb") as file:
            is_zip = file.read(4) == _ZIP
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(str(path)) if is_zip else []
        shells: list[Any] = [(type("Shell", (Shell,), {}), name) for name in unknown]
        with torch.serialization.safe_globals(shells):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # the unpickler raises whatever the bytes lead it to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        kind = UnsafeCheckpoint if "WeightsUnpickler" in str(error) or "Weights only" in reason else CheckpointError
        msg = f"cannot read {path} without running code that it may bring: {reason}; expected lists of state dicts"
        raise kind(msg) from error


def _states(content: object, place: str) -> dict[int, Mapping[str, Any]]:
    for key, steps_key in LISTS.items():
        if isinstance(content, Mapping) and isinstance(content.get(key), Sequence):
            states = content[key]
            steps = content.get(steps_key, range(len(states)))
            if len(steps) != len(states):
                msg = f"{place} has {len(states)} {key} but {len(steps)} {steps_key}; expected as many"
                raise UsageError(msg)
            return _by_step(list(steps), states, f"{place}, {steps_key}")
    if isinstance(content, Sequence) and content:
        return dict(enumerate(content))
    names = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
    msg = f"{place} has {names[:200]}; expected a list of state dicts, alone or under {' or '.join(LISTS)}"
    raise UsageError(msg)


def _by_step(steps: list[Any], states: Sequence[Any], where: str) -> dict[int, Any]:
    for step in steps:
        if not isinstance(step, int | float) or step != int(step):
            msg = f"{where} has {step!r} among its steps; expected whole numbers"
            raise UsageError(msg)
        if steps.count(step) > 1:
            msg = f"{where} has step {step} twice; expected each once"
            raise UsageError(msg)
    return {int(step): state for step, state in zip(steps, states, strict=True)}


def _settings(content: object) -> dict[str, Any]:
    """What the file's configuration says, of which shapes tell the sizes alone."""
    config = content.get("config") if isinstance(content, Mapping) else None
    fields = config if isinstance(config, Mapping) else getattr(config, "__dict__", {})
    return {str(name): value for name, value in fields.items() if isinstance(value, str | int | float | None)}


def _weights(state: object, settings: Mapping[str, Any], where: str) -> Weights:
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        msg = f"{where} holds {type(state).__name__}, not a state dict; expected name -> tensor"
        raise CheckpointError(msg)
    tensors = {str(name): tensor for name, tensor in state.items()}
    return Weights.of(tensors, hash_tensors(tensors), sum(t.nbytes for t in tensors.values()), settings=settings)
