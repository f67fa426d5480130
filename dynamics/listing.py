"""What there is to choose from, as tables: public series, kinds of source, metrics, tasks."""

from __future__ import annotations

import polars as pl

from metrics import METRICS


def series() -> pl.DataFrame:
    """The catalogue: what can be asked for by name, and what of it is refused and why."""
    from dynamics.sources.catalogue import entries

    asks = {True: "needs --trust-remote-code", False: ""}
    rows = [(e.name, e.title, e.family, e.repo, e.licence, e.refused or asks[e.remote_code])
            for e in entries().values()]  # fmt: skip
    return pl.DataFrame(rows, schema=["series", "what", "family", "repo", "licence", "refused"], orient="row")


def sources() -> pl.DataFrame:
    """The kinds of place that a history can be read from."""
    from dynamics.sources import kinds

    return pl.DataFrame({"source": [f"{k}:" for k in kinds()], "what": [module.WHAT for module in kinds().values()]})


def metrics(model: str | None = None) -> pl.DataFrame:
    """Every metric with its task, axes, unit and source; of a model, whether it has what the metric reads."""
    if model is not None:
        from dynamics.availability import metrics_of

        return metrics_of(model)
    rows = [(m.name, m.title, m.task or "", ",".join(m.axes), m.unit, m.source) for m in METRICS.values()]
    return pl.DataFrame(rows, schema=["metric", "title", "task", "axes", "unit", "source"], orient="row").sort("metric")


def tasks() -> pl.DataFrame:
    """Every task with the first line of its file and the settings it takes."""
    from dynamics.tasks import task_files

    rows = [
        (name, (module.__doc__ or "").split("\n")[0], ", ".join(module.Settings.model_fields))
        for name, module in task_files().items()
    ]
    return pl.DataFrame(rows, schema=["task", "what", "settings"], orient="row")
