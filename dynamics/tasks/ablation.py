"""Ablation: the windows of the task 'text', on which chosen heads are silenced.

How much of what the model predicts, and of what it gains from the context, is due to these heads?
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from dynamics.tasks import Subject, Task, text

FIELDS = (*text.FIELDS, "silenced_heads", "patterns")

HEAD = r"^\d+\.\d+$"


class Settings(text.Settings):
    """The text as for the task 'text'. `heads` are silenced together, each as "LAYER.HEAD" counted from 0.

    With `patterns` "frozen", all heads attend as they do in the whole model; "free" lets later layers react.
    """

    heads: tuple[Annotated[str, Field(pattern=HEAD)], ...] = Field(min_length=1)
    patterns: Literal["frozen", "free"] = "frozen"
    stderr_of: str = "in_context_learning_from_heads"


def build(settings: Settings, subject: Subject) -> Task:
    """Windows of the text and the heads as pairs of numbers."""
    windows = text.build(settings, subject)
    heads = tuple((int(layer), int(head)) for layer, head in (name.split(".") for name in settings.heads))
    fields = {**windows.fields, "silenced_heads": heads, "patterns": settings.patterns}
    return replace(windows, name="ablation", fields=fields)
