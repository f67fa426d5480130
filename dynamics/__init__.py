"""Dynamics: read a model's training history, measure it, and say when something emerged and how sure that is.

Names are loaded when they are first used, so that the store, the events and the pictures work without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynamics.callback import MeasureCallback
    from dynamics.events import detect
    from dynamics.run import Run
    from dynamics.sources import Series, open_series
    from dynamics.store import Store
    from dynamics.sweep import Settings, measure

_HOME = {
    "MeasureCallback": "dynamics.callback",
    "Run": "dynamics.run",
    "Series": "dynamics.sources",
    "Settings": "dynamics.sweep",
    "Store": "dynamics.store",
    "detect": "dynamics.events",
    "measure": "dynamics.sweep",
    "open_series": "dynamics.sources",
}

__all__ = ["MeasureCallback", "Run", "Series", "Settings", "Store", "detect", "measure", "open_series"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module 'dynamics' has no attribute {name!r}; it has {', '.join(__all__)}"
        raise AttributeError(msg)
    return getattr(import_module(_HOME[name]), name)
