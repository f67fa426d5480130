"""What the batches of a task give, put together over all its examples."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)


class Gathered(Generic[Key]):
    """One tensor for each key, with a row for each example, filled from batch to batch.

    Its room is taken at the first batch. A list of each batch's small tensors would leave them scattered among the
    large ones that a pass makes and frees, and the memory between them would not be used again: over 64 windows of a
    70M model that takes twice the memory of one.
    """

    def __init__(self, n_examples: int) -> None:
        self.n_examples = n_examples
        self._rows: dict[Key, Tensor] = {}
        self._filled: dict[Key, int] = {}

    def add(self, key: Key, part: Tensor) -> None:
        """The next examples' rows."""
        if key not in self._rows:
            with torch.inference_mode(False):  # what is kept may be differentiated, or written to, later
                self._rows[key] = torch.empty(
                    self.n_examples, *part.shape[1:], dtype=part.dtype, device=part.device
                )
            self._filled[key] = 0
        start = self._filled[key]
        self._rows[key][start : start + len(part)] = part
        self._filled[key] = start + len(part)

    def whole(self) -> dict[Key, Tensor]:
        """Every key's rows, as many as there were."""
        return {key: rows[: self._filled[key]] for key, rows in self._rows.items()}
