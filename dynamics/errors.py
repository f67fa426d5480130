"""The errors that a user can meet.

    DynamicsError
    ├── UsageError          an unknown name or an impossible request; nothing was started (exit code 2)
    ├── CheckpointError     one checkpoint cannot be read; it is recorded as failed and the run goes on
    │   ├── UnsafeCheckpoint    reading it would run a stranger's code
    │   └── Unanswered          its source does not answer now; that says nothing of the checkpoint
    └── StoreError          the run's database cannot be used

Every message says what failed, the value, what was expected and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DynamicsError(Exception):
    """Any error that Dynamics raises on purpose."""


class UsageError(DynamicsError, ValueError):
    """The request names something that does not exist or cannot be done."""


class CheckpointError(DynamicsError):
    """One checkpoint cannot be read or measured."""


class UnsafeCheckpoint(CheckpointError):
    """Reading the checkpoint would run code that it brings along."""


class Unanswered(CheckpointError):
    """The source of a checkpoint cannot be asked now, and may answer later."""


class StoreError(DynamicsError):
    """The run's database cannot be opened or written."""


def unknown(value: object, valid: Iterable[object], *, kind: str, listed_by: str) -> UsageError:
    """The error for a name that is not known, with the nearest valid ones.

    >>> print(unknown("prefix_maching", ["loss", "prefix_matching"], kind="metric", listed_by="list"))
    unknown metric 'prefix_maching'; did you mean 'prefix_matching'? 'list' shows all 2
    """
    names = [str(name) for name in valid]
    close = difflib.get_close_matches(str(value), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(name) for name in close)}? " if close else ""
    return UsageError(f"unknown {kind} {str(value)!r}; {hint}{listed_by!r} shows all {len(names)}")
