"""Events of training curves: what emerged, when, and how sure that is. Loads numpy, scipy and polars only."""

from dynamics.events.curve import Event, detect_curve
from dynamics.events.detection import detect
from dynamics.events.schema import EVENT_COLUMNS, EXTRA_COLUMNS

__all__ = ["EVENT_COLUMNS", "EXTRA_COLUMNS", "Event", "detect", "detect_curve"]
