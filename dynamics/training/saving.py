"""What a training leaves on disk: checkpoints in Hugging Face format, the loss of every step, a state to go on from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from dynamics.errors import UsageError

CONDITIONS, LOSSES, STATE = "training.json", "losses.csv", ".state.pt"


def save(model: PreTrainedModel, folder: Path, tokenizer: Tokenizer | None = None) -> None:
    """Save one checkpoint; a folder that is there is complete, since it is renamed into place at the end."""
    if folder.exists():
        return  # a training that goes on from an earlier state comes by the same weights again
    partial = folder.with_name(f".{folder.name}.partial")
    model.config.save_pretrained(partial)
    weights = {name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    if tokenizer is not None:
        tokenizer.save(str(partial / "tokenizer.json"))
    partial.rename(folder)


class History:
    """The folder of one training. Opening one that was made under other conditions is an error: a history whose
    halves were trained differently would be measured as if it were one."""

    def __init__(self, folder: Path, conditions: Mapping[str, Any]) -> None:
        self.folder = folder
        wanted = json.loads(json.dumps(conditions))
        path = folder / CONDITIONS
        if path.exists():
            _check_same(folder, json.loads(path.read_text("utf-8")), wanted)
        elif folder.exists() and any(folder.glob("step*")):
            msg = f"{folder} holds checkpoints but no {CONDITIONS} that says how they were trained; choose another one"
            raise UsageError(msg)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            _write(path, json.dumps(wanted, indent=1) + "\n")

    def is_whole(self, steps: int) -> bool:
        """Whether the training has reached its last step and everything is written."""
        return (self.folder / f"step{steps}").exists() and not self._state.exists() and self._losses.exists()

    def resume(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> list[float]:
        """Load the last state where there is one. Returns the losses of the steps that are done."""
        if not self._state.exists():
            return []
        state = torch.load(self._state, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return state["losses"].tolist()

    def write_state(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer, losses: Sequence[float]) -> None:
        """Write what the next process needs to go on from here; the file is whole or not there."""
        partial = self._state.with_suffix(".partial")
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                 "losses": torch.tensor(losses, dtype=torch.float64)}  # fmt: skip
        torch.save(state, partial)
        partial.replace(self._state)

    def finish(self, losses: Sequence[float]) -> None:
        """Write the loss of every step and take the state away: the training is over."""
        rows = "".join(f"{step},{loss!r}\n" for step, loss in enumerate(losses))
        _write(self._losses, f"step,loss\n{rows}")
        self._state.unlink(missing_ok=True)

    @property
    def _state(self) -> Path:
        return self.folder / STATE

    @property
    def _losses(self) -> Path:
        return self.folder / LOSSES


def _write(path: Path, text: str) -> None:
    """Write a file that is whole or not there."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)


def _check_same(folder: Path, made: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differing = [name for name in sorted({*made, *wanted}) if made.get(name) != wanted.get(name)]
    if differing:
        name = differing[0]
        msg = (
            f"{folder} holds a training with {name} = {made.get(name)!r}, and {wanted.get(name)!r} is asked for; "
            "choose another '--out', or delete that folder"
        )
        raise UsageError(msg)
