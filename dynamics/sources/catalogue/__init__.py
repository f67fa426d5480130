"""The public series: rules for where each keeps its checkpoints and how their names are read. One entry for each.

An entry never says which steps there are: these are listed from the live hub. `{name}` in an entry stands for the
values under `each.name`, so that one entry covers the sizes and seeds of a family.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from dynamics.errors import UsageError, unknown

if TYPE_CHECKING:
    from dynamics.sources import Access, Series

WHAT = "a public series by its name alone, such as pythia-160m: 'dynamics list series' shows them"

Locator = Literal["branch", "tag", "repo", "subfolder", "file", "commit", "named", "bundle"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stage(_Strict):
    """A phase of training whose steps count from 0 again, or whose batch has another size.

    `tokens_before` are the tokens seen before its step 0.
    """

    name: str
    tokens_per_step: int | None = None
    tokens_before: int | None = None


class Defect(_Strict):
    """Checkpoints that are reported to be bad. `where` restricts a defect to some of the entry's series.

    A `duplicate` or a `missing` can be seen in the published hashes, which then decide; `wrong` cannot.
    """

    steps: str
    problem: Literal["duplicate", "missing", "wrong"]
    reason: str
    stage: str | None = None
    where: dict[str, list[str]] = {}


class Place(_Strict):
    """One checkpoint whose place follows no rule."""

    step: int
    stage: str = ""
    tokens: int | None = None
    repo: str | None = None
    revision: str = "main"


class Entry(_Strict):
    """How to list one public series."""

    name: str
    title: str
    repo: str
    kind: Locator
    each: dict[str, list[str]] = {}
    pattern: str | None = None
    revision: str = "main"
    file: str | None = None  # kind bundle: the one file that holds all steps
    labels: str | None = None  # kind repo: what stands for {label} in the repo's name, "0..200:20, 300..2000:100"
    places: tuple[Place, ...] = ()
    default_stage: str = ""
    stages: tuple[Stage, ...] = ()
    tokens_per_step: int | None = None
    tokens_from: Literal["step", "label"] = "step"  # where the batch size changes, only the label knows the tokens
    family: str = ""
    dtype: str = ""
    tokenizer: str = ""  # a repo, for series whose own revisions bring none that loads
    licence: str = ""
    remote_code: bool = False
    refused: str = ""
    seed: int | None = None
    note: str = ""
    bos: int | None = None  # the token that starts a text, where the configuration names another
    defects: tuple[Defect, ...] = ()

    def stage(self, name: str) -> Stage | None:
        """What is known of a stage."""
        return next((stage for stage in self.stages if stage.name == name), None)

    @field_validator("pattern")
    @classmethod
    def _is_regex(cls, pattern: str | None) -> str | None:
        if pattern is not None and not {"step", "tokens"} & set(re.compile(pattern).groupindex):
            msg = f"pattern {pattern!r} has no group (?P<step>...) or (?P<tokens>...)"
            raise ValueError(msg)
        return pattern


def entries() -> dict[str, Entry]:
    """Every public series by name."""
    return dict(_read())


def rules() -> list[tuple[str, Entry]]:
    """Each rule once: its names, such as pythia-{70m,160m}-deduped, and the first series that it stands for."""
    found = []
    for _, settings in _settings():
        names = settings["name"]
        for key, values in settings.get("each", {}).items():
            names = names.replace(f"{{{key}}}", "{" + ",".join(map(str, values)) + "}")
        found.append((names, next(expand(settings)).model_copy(update={"title": settings["title"]})))
    return found


def find(name: str) -> Entry:
    """The entry of that name, or a `UsageError` with the nearest names."""
    if name not in _read():
        raise unknown(name, _read(), kind="series", listed_by="dynamics list series")
    return _read()[name]


def open_source(place: str, series: str | None, access: Access) -> Series:
    """List a public series by name."""
    from dynamics.sources.hub import open_entry

    return open_entry(find(place), series, access)


def of_repo(repo: str) -> Entry | None:
    """The entry whose checkpoints are in that repo; of several histories that begin alike there, the first."""
    return next((entry for entry in _read().values() if entry.repo == repo), None)


def expand(settings: Mapping[str, Any]) -> Iterator[Entry]:
    """The series that one entry of a file stands for."""
    each = {key: [str(value) for value in values] for key, values in settings.get("each", {}).items()}
    for values in product(*each.values()):
        chosen = dict(zip(each, values, strict=True))
        filled = _fill({key: value for key, value in settings.items() if key != "each"}, chosen)
        filled["defects"] = [
            defect for defect in filled.get("defects", ())
            if all(chosen.get(key) in allowed for key, allowed in defect.get("where", {}).items())
        ]  # fmt: skip
        if isinstance(filled.get("seed"), str):
            filled["seed"] = int(filled["seed"])
        yield Entry(**filled)


def _fill(value: Any, chosen: Mapping[str, str]) -> Any:
    """`{key}` replaced in every string; other braces, as in patterns, stay."""
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda m: chosen.get(m[1], m[0]) if not m[1].isdigit() else m[0], value)
    if isinstance(value, list):
        return [_fill(item, chosen) for item in value]
    if isinstance(value, dict):
        return {key: _fill(item, chosen) for key, item in value.items()}
    return value


@cache
def _read() -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for file, settings in _settings():
        try:
            expanded = list(expand(settings))
        except ValidationError as error:
            msg = f"catalogue file {file}, series {settings.get('name')!r}: {error.errors()[0]}"
            raise UsageError(msg) from error
        for entry in expanded:
            if entry.name in found:
                msg = f"the catalogue has two series named {entry.name!r}; the second is in {file}"
                raise UsageError(msg)
            found[entry.name] = entry
    return found


def _settings() -> Iterator[tuple[str, dict[str, Any]]]:
    """The rules as they are written, each with the name of its file."""
    for file in sorted(files(__name__).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            yield from ((file.name, settings) for settings in tomllib.loads(file.read_text("utf-8"))["series"])
