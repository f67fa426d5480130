"""Checkpoints brought ahead of the measuring: in order, not too many, and let go whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import torch

from dynamics.checkpoint import Checkpoint, Files, Weights
from dynamics.errors import CheckpointError
from dynamics.prefetch import AHEAD, ahead
from dynamics.sources import Series

PATIENCE = 20.0  # seconds; only a hang waits as long


def weights() -> Weights:
    return Weights.of({"a": torch.zeros(1)}, "0" * 64, 4)


def series_of(n: int, fetch: Callable[[int], Files], release: Callable[[int], None] = lambda _: None) -> Series:
    checkpoints = tuple(Checkpoint("t", step) for step in range(n))
    return Series("t", "test:t", checkpoints, lambda c: fetch(c.step), release=lambda c: release(c.step))


def test_the_next_are_fetched_and_one_is_opened_while_the_present_is_measured() -> None:
    fetched, opened = [threading.Event() for _ in range(6)], [threading.Event() for _ in range(6)]

    def fetch(step: int) -> Files:
        fetched[step].set()
        return Files((Path(str(step)),), opened=lambda: opened[step].set() or weights())

    released: list[int] = []
    seen = []
    with ahead(series_of(6, fetch, released.append)) as coming:
        for checkpoint, future in coming:
            step = checkpoint.step
            assert future.result().files.weights == (Path(str(step)),)
            assert released == list(range(step))  # the present one is kept
            last = min(step + AHEAD, 5)
            assert fetched[last].wait(PATIENCE)
            assert opened[min(step + 1, 5)].wait(PATIENCE)
            assert not any(event.is_set() for event in fetched[last + 1 :])
            assert not any(event.is_set() for event in opened[step + 2 :])
            seen.append(step)
    assert seen == released == list(range(6))


def test_one_is_hashed_while_the_next_is_on_its_way() -> None:
    underway = [threading.Event() for _ in range(3)]

    def fetch(step: int) -> Files:
        underway[step].set()

        def open_it() -> Weights:
            assert underway[min(step + 1, 2)].wait(PATIENCE), "the next download waits for this opening"
            return weights()

        return Files((), opened=open_it)

    with ahead(series_of(3, fetch)) as coming:
        assert [future.result().weights.sha for _, future in coming] == ["0" * 64] * 3


def test_one_that_cannot_be_fetched_does_not_stop_the_others() -> None:
    def fetch(step: int) -> Files:
        if step == 1:
            msg = "gone"
            raise CheckpointError(msg)
        return Files((), opened=weights)

    with ahead(series_of(3, fetch)) as coming:
        assert [str(future.exception() or "") for _, future in coming] == ["", "gone", ""]


def test_a_sweep_that_ends_early_lets_everything_go() -> None:
    gate = threading.Event()
    released: set[int] = set()

    def fetch(step: int) -> Files:
        assert gate.wait(PATIENCE) if step == 1 else True
        return Files((), opened=weights)

    before = set(threading.enumerate())
    with ahead(series_of(9, fetch, released.add)) as coming:
        next(coming)
    gate.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert released == {0, 1, 2}
