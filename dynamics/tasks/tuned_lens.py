"""Tuned lens: windows of a text to train a lens on at each checkpoint, and others to read it on.

It costs a small training run for every checkpoint, and is an option beside the logit lens for that reason.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from dynamics.errors import UsageError
from dynamics.sites.tuned_lens import Training
from dynamics.tasks import Subject, Task, text

FIELDS = (*text.FIELDS, "training_tokens", "training")


class Settings(text.Settings):
    """The text as for the task 'text', in windows of 128 tokens, or what the context has room for, unless `length`
    says otherwise: `n_training` to train on and `n_examples` others. Adam takes `steps` steps of `rows` positions
    each, with a learning rate that falls from `learning_rate` to 0.
    """

    n_examples: int = Field(default=32, ge=1)
    stderr_of: str = "tuned_lens_kl"
    n_training: int = Field(default=96, ge=1)
    steps: int = Field(default=100, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    rows: int = Field(default=256, ge=1)


def build(settings: Settings, subject: Subject) -> Task:
    """The windows are drawn together and then parted by the seed, so that none is in both."""
    settings = text.with_length(settings, subject, usual=128, what="tuned lens")
    n = settings.n_training + settings.n_examples
    windows = text.build(settings.model_copy(update={"n_examples": n}), subject)
    if windows.n_examples < n:
        msg = f"the text has {windows.n_examples} windows of {windows.settings['length']} tokens, and the task " \
              f"'tuned_lens' takes {settings.n_training} to train on and {settings.n_examples} to read; give more " \
              "text, a shorter 'length', or fewer"  # fmt: skip
        raise UsageError(msg)
    # Windows come in the order of the text; every k-th is held out, so that both parts are of all of it.
    held_out = {int((i + 0.5) * n / settings.n_examples) for i in range(settings.n_examples)}
    read, trained = sorted(held_out), [i for i in range(n) if i not in held_out]
    how = Training(settings.steps, settings.learning_rate, settings.rows, settings.seed)
    fields = {
        **windows.fields, "tokens": windows.tokens[read], "n_bytes": windows.fields["n_bytes"][read],
        "training_tokens": windows.tokens[trained], "training": how,
    }  # fmt: skip
    shown = {**windows.settings, "n_examples": len(read)}
    return replace(windows, name="tuned_lens", fields=fields, settings=shown)
