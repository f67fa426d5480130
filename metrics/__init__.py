"""Metrics: tensors in, numbers out. One file per idea or paper; this package knows nothing of the rest."""

from importlib import import_module
from pkgutil import iter_modules

from metrics.contract import METRICS, Metric, metric

# Every file beside this one is imported, so that adding a metric is adding a file.
for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["METRICS", "Metric", "metric"]
