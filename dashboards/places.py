"""Where a number is, in words: head, layer, frequency, position; and series in the order in which people count."""

from __future__ import annotations

import re

import polars as pl

# What stands along an index, as its metric's name, title or question has it; the first that is found.
NOUNS = ("product", "frequency", "frequencies", "position", "feature", "token", "subtask", "singular value", "neuron",
         "pair", "layer")  # fmt: skip
INDEX = "index"


def noun(*told: str | None) -> str:
    """What one place along an index is called, by what is told of the metric: its name, its title, its question.

    >>> noun("neurons_of_frequency"), noun("cosine_coefficient", "Height of cos(w)", "At which frequencies?"), noun("x")
    ('frequency', 'frequency', 'index')
    """
    for text in told:
        words = (text or "").lower().replace("_", " ")
        found = next((word for word in NOUNS if word in words), "")
        if found:
            return "frequency" if found == "frequencies" else found
    return INDEX


def nouns(names: pl.Series, metrics: pl.DataFrame | None) -> dict[str, str]:
    """The noun of each of these metrics."""
    known = {} if metrics is None else {row["metric"]: row for row in metrics.iter_rows(named=True)}
    about = {name: known.get(name, {}) for name in names.drop_nulls().unique().to_list()}
    return {name: noun(name, row.get("title"), row.get("question")) for name, row in about.items()}


def named(frame: pl.DataFrame, metrics: pl.DataFrame | None = None) -> pl.DataFrame:
    """With the columns `place` ("L1H2", "frequency 14", or "") and `curve`, which names series, metric and place."""
    layer, head, index = (pl.col(name).cast(pl.String) for name in ("layer", "head", "index"))
    along = pl.col("metric").replace_strict(nouns(frame["metric"], metrics), default=INDEX, return_dtype=pl.String)
    place = pl.concat_str(
        pl.when(layer.is_not_null() & head.is_not_null()).then("L" + layer + "H" + head)
        .when(layer.is_not_null()).then("layer " + layer)
        .when(head.is_not_null()).then("head " + head),
        along + " " + index,
        pl.col("label").str.slice(0, 60),
        separator=" ", ignore_nulls=True,
    )  # fmt: skip
    placed = frame.with_columns(place.alias("place"))
    return placed.with_columns(pl.concat_str(["series", "metric", "place"], separator="|").alias("curve"))


def counted(name: str) -> list[tuple[int, str]]:
    """A key that sorts names as people count.

    >>> sorted(["L10H2", "L2H11", "L2H3"], key=counted)
    ['L2H3', 'L2H11', 'L10H2']
    """
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.findall(r"\d+|\D+", name)]


def without_seed(name: str) -> str:
    """A series' name without the number of its seed: seeds of one model stand beside each other.

    >>> without_seed("parity-seed2"), without_seed("grok_1"), without_seed("pythia-70m")
    ('parity', 'grok', 'pythia-70m')
    """
    return re.sub(r"[-_ ./]?(?:seed|[-_ ./]s?)[-_ ]?\d+$", "", name, flags=re.IGNORECASE)
