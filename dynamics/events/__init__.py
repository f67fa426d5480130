"""Events of training curves: what emerged, when, and how sure that is. Loads numpy, scipy and polars only."""

from dynamics.events.adaptive import coarse_steps, next_steps
from dynamics.events.bootstrap import bootstrap
from dynamics.events.consensus import SIZES_COLUMNS, across_sizes, consensus, over_heads
from dynamics.events.curve import Event, detect_curve
from dynamics.events.detection import detect
from dynamics.events.gradual import GRADUAL_COLUMNS, describe
from dynamics.events.indices import INDEX_COLUMNS, indices
from dynamics.events.mirage import mirage_check
from dynamics.events.rules import RULE_COLUMNS, apply_rules, load_rules
from dynamics.events.running import RUNNING_COLUMNS, follow
from dynamics.events.schema import EVENT_COLUMNS, EXTRA_COLUMNS, no_events
from dynamics.events.together import co_occurring, lag, on_axis, order

__all__ = [
    "EVENT_COLUMNS",
    "EXTRA_COLUMNS",
    "GRADUAL_COLUMNS",
    "INDEX_COLUMNS",
    "RULE_COLUMNS",
    "RUNNING_COLUMNS",
    "SIZES_COLUMNS",
    "Event",
    "across_sizes",
    "apply_rules",
    "bootstrap",
    "co_occurring",
    "coarse_steps",
    "consensus",
    "describe",
    "detect",
    "detect_curve",
    "follow",
    "indices",
    "lag",
    "load_rules",
    "mirage_check",
    "next_steps",
    "no_events",
    "on_axis",
    "order",
    "over_heads",
]
