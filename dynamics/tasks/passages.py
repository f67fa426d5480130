"""Windows of a text in which a passage comes again and again: what a small model learns to copy from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def repeat_passages(tokens: Tensor, share: float, lengths: tuple[int, int], random: np.random.Generator) -> Tensor:
    """With the chance `share`, a window becomes its own beginning over and over; the others stay as they are.

    `tokens` [batch pos], with a start token, which is not repeated. The length of the beginning is drawn evenly from
    `lengths`, both included.

    >>> window = torch.tensor([[0, 1, 2, 3, 4, 5]])
    >>> repeat_passages(window, 1.0, (2, 2), np.random.default_rng(0)).tolist()
    [[0, 1, 2, 1, 2, 1]]
    """
    places = np.tile(np.arange(tokens.shape[1]), (len(tokens), 1))
    chosen = random.random(len(tokens)) < share
    period = random.integers(lengths[0], lengths[1] + 1, len(tokens))[:, None]
    repeated = np.where(places == 0, 0, 1 + (places - 1) % period)
    return tokens.gather(1, torch.from_numpy(np.where(chosen[:, None], repeated, places)))
