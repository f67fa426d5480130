"""What there is to choose from, as tables: public series, kinds of source, metrics, tasks."""

from __future__ import annotations

import polars as pl

from metrics import METRICS

_ASKS = {True: "needs --trust-remote-code", False: ""}


def series() -> pl.DataFrame:
    """The catalogue: what can be asked for by name, and what of it is refused and why."""
    from dynamics.sources.catalogue import entries

    rows = [(e.name, e.title, e.family, e.repo, e.licence, e.refused or _ASKS[e.remote_code], e.note)
            for e in entries().values()]  # fmt: skip
    columns = ["series", "what", "family", "repo", "licence", "refused", "note"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def series_by_rule() -> pl.DataFrame:
    """The catalogue as a person reads it: a family of sizes and seeds is one row."""
    from dynamics.sources.catalogue import rules

    rows = []
    for names, entry in rules():
        remarks = [f"refused: {entry.refused}" if entry.refused else "", _ASKS[entry.remote_code], entry.note]
        about = "; ".join(part for part in (entry.title, f"licence {entry.licence}", *remarks) if part)
        rows.append((names.replace(",", ", "), about))
    return pl.DataFrame(rows, schema=["series", "what"], orient="row")


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
