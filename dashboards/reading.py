"""What is read of a run's store. Of a long one, DuckDB chooses and aggregates what is drawn, and the report says so.

A store of at most `MAX_NUMBERS` numbers, in curves of at most `MAX_STEPS` checkpoints, is read whole. Otherwise each
metric has an equal share of `MAX_NUMBERS`, and one with more, or with longer curves, is reduced before its rows come
into this process:

- A curve that stands alone keeps in each of `BINS` stretches of the step axis its first, last, lowest and highest
  number (M4: Jugel et al. 2014): a line through them covers the pixels that the whole curve would cover.
- Many curves keep the last checkpoint in each of `MAX_STEPS` stretches and, of the curves, those with the largest
  events and those that move most. `bands` has the 5th and the 95th percentile of all of them at each step, and `slices`
  all heads at a few steps.
- What stands at positions of the context is averaged over bands of positions, `PER_OCTAVE` of them in an octave.

Numbers that are drawn are stored ones, but for the means over positions. `wholes` counts what was not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from dynamics.store import SCHEMA, Store

TABLES = ("series", "checkpoints", "listings", "metrics", "tasks", "measurements", "events", "runs")
MAX_NUMBERS = 1_000_000
MAX_STEPS = 1_000
BINS = MAX_STEPS // 4
FEWEST = 20_000  # numbers that a metric may have, however many metrics there are
CURVES = (8, 256)  # of a metric that are kept, at least and at most
MAX_CELLS = 50_000  # of a metric in `slices`
SINGLE, PER_OCTAVE = 32, 16  # positions that stand alone; bands in each octave beyond them

# What a reduced store has beside its tables; a store that is read whole has no rows of them.
REDUCED: dict[str, dict[str, Any]] = {
    "bands": {"series": pl.String, "metric": pl.String, "stage": pl.String, "step": pl.Int64, "value": pl.Float64,
              "top": pl.Float64},
    "slices": SCHEMA["measurements"],
    "wholes": {"series": pl.String, "metric": pl.String, "curves": pl.Int64, "numbers": pl.Int64, "steps": pl.Int64,
               "low": pl.Float64, "high": pl.Float64, "drawn": pl.String},  # in words, as the report says it
}  # fmt: skip
COLUMNS = ", ".join(f'm."{name}"' for name in SCHEMA["measurements"])
SAME_PLACE = " AND ".join(f'm."{name}" IS NOT DISTINCT FROM p."{name}"' for name in ("layer", "head", "index", "label"))

# Of each metric the newest definition and, in each series, the inputs that most of its numbers come from.
CHOSEN = """
CREATE TEMP TABLE chosen AS SELECT * FROM (
    SELECT series, metric, version, split_part(task_hash, '+', 1) AS task, count(*) AS numbers,
        count(DISTINCT (coalesce(stage, ''), step)) AS steps
    FROM {source} WHERE (metric, coalesce(version, 0)) IN (
        SELECT (metric, max(coalesce(version, 0))) FROM {source} GROUP BY metric)
    GROUP BY ALL
) QUALIFY row_number() OVER (PARTITION BY series, metric ORDER BY numbers DESC, task DESC) = 1
"""
# The rows of a metric, each with its stretch of the step axis: even ones where the axis is logarithmic (from the first
# positive step on, as it is drawn), cut by even ones where it is linear, as a reader may switch it.
PART = """
CREATE OR REPLACE TEMP TABLE part AS
WITH own AS (
    SELECT m.* FROM {source} m JOIN chosen c ON m.series = c.series AND m.metric = c.metric
        AND m.version IS NOT DISTINCT FROM c.version AND split_part(m.task_hash, '+', 1) IS NOT DISTINCT FROM c.task
    WHERE m.metric = ? AND (isfinite(m.value) OR m.value IS NULL)
), ends AS (
    SELECT series, stage, coalesce(min(step) FILTER (step > 0), 1) AS unit, max(step) AS last FROM own GROUP BY ALL
)
SELECT own.*, floor(? * ln(1 + greatest(own.step, 0) / unit) / greatest(ln(1 + last / unit), 1e-9))
    + floor(? * own.step / greatest(last, 1)) AS stretch
FROM own JOIN ends ON own.series = ends.series AND own.stage IS NOT DISTINCT FROM ends.stage
"""
KEPT = """
CREATE OR REPLACE TEMP VIEW kept AS SELECT * FROM part {thinned}
"""
THINNED = "QUALIFY step = max(step) OVER (PARTITION BY series, stage, stretch)"
ALONE = f"""
SELECT {COLUMNS} FROM part m WINDOW own AS (PARTITION BY series, stage, stretch)
QUALIFY step IN (min(step) OVER own, max(step) OVER own, arg_min(step, value) OVER own, arg_max(step, value) OVER own)
"""
POSITIONS = f"""
SELECT series, stage, step, metric, layer, head, CASE WHEN "index" < {SINGLE} THEN "index" ELSE
        ceil({SINGLE} * pow(2, floor({PER_OCTAVE} * log2("index" / {SINGLE})) / {PER_OCTAVE})) END::BIGINT AS "index",
    label, avg(value) AS value, NULL::DOUBLE AS stderr, max(n) AS n, any_value(weights_sha) AS weights_sha,
    any_value(task_hash) AS task_hash, any_value(version) AS version, any_value(run_id) AS run_id
FROM kept GROUP BY ALL
"""
# The same places in all series: first those with the largest events, then those that move most in any series.
PLACES = f"""
WITH spans AS (
    SELECT layer, head, "index", label, series, max(value) - min(value) AS span FROM kept GROUP BY ALL
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY series ORDER BY span DESC NULLS LAST, layer, head, "index", label) AS rank
    FROM spans
), sizes AS (
    SELECT layer, head, "index", label, max(abs(coalesce(after - before, magnitude))) AS size FROM events
    WHERE metric = ? GROUP BY ALL
), places AS (
    SELECT m.layer, m.head, m."index", m.label FROM ranked m LEFT JOIN sizes p ON {SAME_PLACE}
    GROUP BY ALL ORDER BY max(size) DESC NULLS LAST, min(rank), m.layer, m.head, m."index", m.label LIMIT ?
)
SELECT {COLUMNS} FROM kept m SEMI JOIN places p ON {SAME_PLACE}
"""
BANDS = """
SELECT series, metric, stage, step, quantile_cont(value, 0.05) AS value, quantile_cont(value, 0.95) AS top
FROM kept GROUP BY ALL
"""
SLICES = f"SELECT {COLUMNS} FROM kept m WHERE head IS NOT NULL AND list_contains(?::BIGINT[], step)"
WHOLES = """
SELECT series, metric, count(DISTINCT (layer, head, "index", label)) AS curves, count(value) AS numbers,
    count(DISTINCT (coalesce(stage, ''), step)) AS steps, min(value) AS low, max(value) AS high
FROM part GROUP BY ALL
"""


def read_tables(folder: str | Path) -> dict[str, pl.DataFrame]:
    """The tables of a run's store, those of `REDUCED` among them. Raises UsageError where there is no store."""
    with Store(folder, read_only=True) as store:
        there = set(store.query("SELECT table_name FROM duckdb_tables()")["table_name"])
        others = {table: store.read(table) if table in there else pl.DataFrame(schema=SCHEMA[table])
                  for table in TABLES if table != "measurements"}  # fmt: skip
        return {**others, **_numbers(store)}


def _numbers(store: Store) -> dict[str, pl.DataFrame]:
    source = _source(store)
    store.query(CHOSEN.format(source=source))
    parts = store.query("SELECT metric, sum(numbers) AS numbers, max(steps) AS steps FROM chosen GROUP BY ALL")
    total = store.query(f"SELECT count(*) AS n FROM {source}")["n"].item()
    share = max(MAX_NUMBERS // max(parts.height, 1), FEWEST) if total > MAX_NUMBERS else MAX_NUMBERS
    long = parts.filter((pl.col("numbers") > share) | (pl.col("steps") > MAX_STEPS)).sort("metric")
    names = long["metric"].to_list()
    rest = store.query(f"SELECT {COLUMNS} FROM {source} m WHERE NOT list_contains(?::VARCHAR[], metric)", [names])
    reduced = [_reduced(store, source, name, share) for name in names]
    tables = {"measurements": [rest.cast(SCHEMA["measurements"])],  # pyright: ignore[reportArgumentType]
              **{name: [pl.DataFrame(schema=columns)] for name, columns in REDUCED.items()}}  # fmt: skip
    return {name: pl.concat([*empty, *(one[name] for one in reduced if name in one)], how="vertical_relaxed")
            for name, empty in tables.items()}  # fmt: skip


def _source(store: Store) -> str:
    """What belongs together: what the latest run asked for; everything where no run has said what it asked for."""
    known = store.query("SELECT count(*) AS n FROM duckdb_views() WHERE view_name = 'curves'")["n"].item()
    return "curves" if known and store.query("SELECT 1 FROM curves LIMIT 1").height else "measurements"


def _reduced(store: Store, source: str, metric: str, share: int) -> dict[str, pl.DataFrame]:
    """One metric: the rows of `measurements` to draw, and its rows of the tables of `REDUCED`."""
    told = "SELECT max(steps), bool_and(numbers = steps) FROM chosen WHERE metric = ?"
    most, alone = store.query(told, [metric]).row(0)
    store.query(PART.format(source=source), [metric, *[(BINS if alone else MAX_STEPS) / 2] * 2])
    wholes = store.query(WHOLES)
    if alone:
        how = "the first, last, lowest and highest number of each stretch of steps"
        return {"measurements": store.query(ALONE), "wholes": wholes.with_columns(pl.lit(how).alias("drawn"))}
    store.query(KEPT.format(thinned=THINNED if most > MAX_STEPS else ""))
    steps = store.query("SELECT DISTINCT step FROM kept ORDER BY step")["step"].to_list()
    curves: int = max(wholes["curves"])
    few = min(max(share // (wholes.height * len(steps)), CURVES[0]), CURVES[1])
    if "position" in metric:
        rows, how = store.query(POSITIONS), "means over bands of positions"
    else:
        rows, how = store.query(PLACES, [metric, few]), f"{few} of {curves:,} curves" * (few < curves)
    fewer = f"{len(steps):,} of {most:,} checkpoints" * (len(steps) < most)
    drawn = pl.lit(", ".join(filter(None, (how, fewer)))).alias("drawn")
    slices = store.query(SLICES, [steps[:: -(-curves * len(steps) // MAX_CELLS)] + steps[-1:]])
    return {"measurements": rows, "bands": store.query(BANDS), "slices": slices, "wholes": wholes.with_columns(drawn)}
