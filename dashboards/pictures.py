"""Figures as files, and as JSON that is safe inside an HTML page."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import vl_convert

from dashboards import theme

SCALE = 2.0  # PNGs for screens with two pixels a point, and for print


def write_pictures(spec: dict[str, Any], folder: Path, name: str) -> None:
    """Write `name.svg` and `name.png`, on white."""
    drawn = svg(spec)
    (folder / f"{name}.svg").write_text(drawn, encoding="utf-8")
    (folder / f"{name}.png").write_bytes(png(drawn))


def svg(spec: dict[str, Any]) -> str:
    """A figure as it stands before anyone touches it, on white."""
    return vl_convert.vegalite_to_svg(json.dumps({**_still(spec), "config": theme.config()}))


def png(drawn: str) -> bytes:
    """The picture of an SVG."""
    return vl_convert.svg_to_png(drawn, scale=SCALE)


def _still(node: Any) -> Any:
    """The specification without what only a pointer can see: selections, and the points that a hover reveals."""
    if isinstance(node, list):
        return [_still(part) for part in node if not _only_hovered(part)]
    if isinstance(node, dict):
        if isinstance(node.get("condition"), dict) and "param" in node["condition"]:
            return {"value": node["condition"]["value"]}  # as before anyone has clicked on a legend
        return {name: part if name == "datasets" else _still(part) for name, part in node.items()}
    return node


def _only_hovered(part: Any) -> bool:
    """Whether this is a selection, a layer that is never seen, or one that a selection fills."""
    if not isinstance(part, dict):
        return False
    layers = part.get("layer")
    if layers:
        return all(_only_hovered(layer) for layer in layers)
    filters = [step.get("filter") for step in part.get("transform", []) if isinstance(step, dict)]
    chosen = any(isinstance(kept, dict) and "param" in kept for kept in filters)
    return "select" in part or chosen or part.get("encoding", {}).get("opacity") == {"value": 0}


def packed(spec: dict[str, Any]) -> dict[str, Any]:
    """The specification with its data by column, each text once: a fifth of the size. The page unpacks it."""
    datasets = {name: _columns(rows) for name, rows in spec.get("datasets", {}).items()}
    return {**spec, "datasets": datasets}


def _columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = list(rows[0]) if rows else []
    return {"rows": len(rows), "columns": {name: _column([row.get(name) for row in rows]) for name in names}}


def _column(values: list[Any]) -> dict[str, Any]:
    if not any(isinstance(value, str) for value in values):
        return {"values": values}
    texts = list(dict.fromkeys(values))
    place = {text: number for number, text in enumerate(texts)}
    return {"texts": texts, "values": [place[value] for value in values]}


def inline_json(value: object) -> str:
    """JSON that can stand in a script element: no character in it can end the element or open a comment."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for character, escape in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"),
                              ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):  # fmt: skip
        text = text.replace(character, escape)
    return text


@lru_cache(maxsize=1)
def vega_script() -> str:
    """Vega, Vega-Lite and vega-embed as one script that puts `vegaEmbed` on the window; from vl-convert, offline."""
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script.replace("</script", "<\\/script")
