"""What a metric is: a pure function whose parameter names say what it reads.

    @metric(title="...", unit="nats", task="text", lower=0.0)
    def loss(token_loss): ...

The names that a metric may read are the sites below, the fields of its task (`tokens`, `period`, ...), another metric
of its task (then it is derived from that metric's numbers), and any site with a suffix: `_final` (the same site at the
last checkpoint of the series), `_first` (at its first), `_previous` (at the checkpoint before this one, the last before
it that could be read) or `_previous_previous` (at the one before that).
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

# Each site with what it holds. Activations come from one forward pass over the metric's task; weights are in
# TransformerLens orientation. The list is closed, so that a misspelt parameter is an error and not a new site.
ACTIVATION_SITES = {
    "attention": "one layer's attention, a `metrics.attention.Attention`; the metric is called once a layer",
    "attention_rows": "[batch n layer head key_pos], the attention of a few queries, evenly spread; half precision",
    "token_loss": "[batch pos], the loss of predicting each token from those before it; entry i is token i + 1",
    "token_correct": "[batch pos], 1 where the token is the one predicted as likeliest, else 0; placed as token_loss",
    "loss_at": "callable: token positions -> their losses [batch n]; nothing else is unembedded",
    "ablated_loss_at": "callable as `loss_at`, of a second pass in which the heads that the task names are silent",
    "resid_post": "[batch n layer d_model], what each layer hands on, at a fixed sample of positions of every example",
    "lens": "[batch n d_vocab], log-probabilities of one layer's logit lens; the metric is called once a layer",
    "tuned_lens": "[batch n d_vocab], the same through a lens trained for this checkpoint, beside `lens` or alone",
    "lens_target": "[batch n d_vocab], the model's own log-probabilities at the same positions",
    "langevin_losses": "[chain draw], the losses of weights sampled around the checkpoint; of the whole task at once",
    "langevin_start": "[], the loss at the checkpoint's own weights; given with `langevin_losses`",
    "logits": "[batch pos d_vocab], at the positions that the task reads",
    "mlp_post": "[batch pos d_mlp], the last layer's neurons after their activation, at the positions the task reads",
    "outputs": "[example output], the answer of a model that reads numbers and not tokens",
}
WEIGHT_SITES = {
    "weights": "every parameter by name",
    "spectra": "the singular values of every weight matrix by name, largest first, float64",
    "W_E": "[d_vocab d_model], the token embedding",
    "W_pos": "[n_ctx d_model], the learned positions",
    "W_U": "[d_model d_vocab], the unembedding",
    "W_Q": "[n_layers n_heads d_model d_head], from the residual stream to the queries",
    "W_K": "[n_layers n_heads d_model d_head], from the residual stream to the keys, repeated over grouped queries",
    "W_V": "[n_layers n_heads d_model d_head], from the residual stream to the values, repeated over grouped queries",
    "W_O": "[n_layers n_heads d_head d_model], from each head's values back to the residual stream",
    "ln1_w": "[n_layers d_model], the gain of the norm before attention; 1 where there is none",
    "ln_final_w": "[d_model], the gain of the norm before the unembedding; 1 where there is none",
    "W_in": "[n_layers d_model d_mlp], the input matrices of the MLPs",
    "W_out": "[n_layers d_mlp d_model], the output matrices of the MLPs",
    "W": "[d_hidden n_features], the toy autoencoder's weights; column i is the direction of feature i",
}
# What lies between this checkpoint and the one before it.
BETWEEN_SITES = {
    "steps_between": "number of optimizer steps since the checkpoint before",
    "learning_rate_between": "the learning rates of these steps, summed; NaN where the training log does not tell them",
}
SITES = ACTIVATION_SITES | WEIGHT_SITES | BETWEEN_SITES
SAMPLED = ("langevin_losses", "langevin_start")  # made once from the whole task; an "example" is then a chain
BY_LAYER = ("attention", "lens", "tuned_lens")
# Activations of another checkpoint are kept whole, so that only those that are small may be referred to.
REFERABLE_ACTIVATIONS = ("attention_rows", "resid_post")
SUFFIXES = ("_final", "_first", "_previous_previous", "_previous")  # a suffix that ends with another comes before it
AXES = ("layer", "head", "index", "label")


@dataclass(frozen=True)
class Metric:
    """A metric and what the store needs to know of it.

    `per_example`: the function returns one value for each example of the batch in its first dimension, and the store
    keeps mean, standard error and count. Otherwise it sees the whole task at once and returns the exact value.
    """

    name: str
    function: Callable[..., Any]
    title: str
    unit: str
    task: str | None
    axes: tuple[str, ...]
    lower: float | None
    upper: float | None
    source: str
    version: int
    per_example: bool
    labels: tuple[str, ...]
    first_index: int
    undefined: str

    @cached_property  # asked for at every batch and layer
    def reads(self) -> tuple[str, ...]:
        """The names of the sites and task fields that the function takes."""
        return tuple(inspect.signature(self.function).parameters)

    @property
    def question(self) -> str:
        """The question that it answers: the first line of its docstring."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]

    @property
    def references(self) -> frozenset[str]:
        """Which other checkpoints it reads: any of "final", "first", "previous" and "previous_previous"."""
        suffixes = {suffix[1:] for _, suffix in map(split, self.reads) if suffix}
        return frozenset(suffixes | ({"previous"} if self.between else set()))

    @property
    def between(self) -> frozenset[str]:
        """What it reads of the stretch from the checkpoint before to this one."""
        return frozenset(name for name in self.reads if name in BETWEEN_SITES)

    @property
    def derived_from(self) -> frozenset[str]:
        """The metrics whose numbers it reads."""
        return frozenset(name for name in self.reads if split(name)[0] not in SITES and name in _METRICS)

    @property
    def at_once(self) -> bool:
        """Whether it sees the whole task at once: for an exact value, chains, or another checkpoint's activations."""
        if not self.per_example or self.sites() & {*SAMPLED}:
            return True
        return any(self.sites(suffix) & {*ACTIVATION_SITES} for suffix in SUFFIXES)

    def sites(self, suffix: str = "") -> frozenset[str]:
        """The sites it reads at this checkpoint, or with a suffix those at the reference checkpoint."""
        found = (site for site, theirs in map(split, self.reads) if theirs == suffix)
        return frozenset(site for site in found if site in SITES and site not in BETWEEN_SITES)

    def fields(self) -> frozenset[str]:
        """The fields of its task that it reads."""
        return frozenset(name for name in self.reads if split(name)[0] not in SITES) - self.derived_from


_METRICS: dict[str, Metric] = {}
METRICS: Mapping[str, Metric] = MappingProxyType(_METRICS)
Function = TypeVar("Function", bound=Callable[..., Any])


def metric(
    *,
    title: str,
    unit: str,
    source: str,
    task: str | None = None,
    axes: tuple[str, ...] = (),
    lower: float | None = None,
    upper: float | None = None,
    version: int = 1,
    per_example: bool = True,
    labels: tuple[str, ...] = (),
    first_index: int = 0,
    undefined: str = "",
) -> Callable[[Function], Function]:
    """Register a function as the metric of its name; the function itself stays callable as it is.

    `source` is the paper and section; `undefined` says when the value is NaN; `labels` names the entries of a
    "label" axis, and without it the function returns a mapping from label to value; `first_index` is the first entry
    of an "index" axis. A changed definition raises `version`.
    """

    def register(function: Function) -> Function:
        candidate = Metric(
            function.__name__, function, title, unit, task, axes, lower, upper, source, version,
            per_example and task is not None, labels, first_index, undefined,
        )  # fmt: skip
        _check(candidate)
        _METRICS[candidate.name] = candidate
        return function

    return register


def _check(candidate: Metric) -> None:
    known = _METRICS.get(candidate.name)
    if known is not None and known.function.__module__ != candidate.function.__module__:
        msg = f"metric {candidate.name!r} is defined twice: in {known.function.__module__} and in " \
              f"{candidate.function.__module__}; give one of them another name"  # fmt: skip
        raise ValueError(msg)
    for name in candidate.reads:
        _check_name(candidate, name)
    if unknown := set(candidate.axes) - set(AXES):
        msg = f"metric {candidate.name!r} has axes {sorted(unknown)}; the store has {', '.join(AXES)}"
        raise ValueError(msg)
    if candidate.labels and "label" not in candidate.axes:
        msg = f"metric {candidate.name!r} has labels {candidate.labels} but no 'label' axis; its axes are " \
              f"{candidate.axes}"  # fmt: skip
        raise ValueError(msg)
    by_layer = next((site for site in BY_LAYER if site in candidate.reads), None)
    if by_layer and not (candidate.per_example and candidate.axes[:1] == ("layer",)):
        msg = f"metric {candidate.name!r} reads {by_layer}, which comes layer by layer and batch by batch: " \
              "its first axis must be 'layer' and it must return one value for each example"  # fmt: skip
        raise ValueError(msg)


def _check_name(candidate: Metric, name: str) -> None:
    site, _ = split(name)
    if site in SITES:
        if candidate.task is None and site in ACTIVATION_SITES:
            msg = f"metric {candidate.name!r} reads {name!r} but names no task to run the model on"
            raise ValueError(msg)
        return
    if name in _METRICS:
        _check_derived(candidate, _METRICS[name])
        return
    close = difflib.get_close_matches(site, SITES, n=1, cutoff=0.8)
    if close or candidate.task is None:
        hint = f"did you mean {close[0]!r}?" if close else f"the sites are {', '.join(SITES)}"
        msg = f"metric {candidate.name!r} reads {name!r}, which is no site; {hint}"
        raise ValueError(msg)


def _check_derived(candidate: Metric, origin: Metric) -> None:
    if origin.task != candidate.task or not origin.per_example or origin.derived_from:
        msg = f"metric {candidate.name!r} is derived from {origin.name!r} on task {origin.task!r}; expected a metric " \
              f"of its own task, {candidate.task!r}, with a value for each example, itself not derived"  # fmt: skip
        raise ValueError(msg)
    if others := [name for name in candidate.reads if name not in _METRICS]:
        msg = f"metric {candidate.name!r} reads numbers of {origin.name!r} and also {', '.join(others)}; a derived " \
              "metric reads numbers of metrics and nothing else"  # fmt: skip
        raise ValueError(msg)


def split(name: str) -> tuple[str, str]:
    """A parameter's name as site and suffix: `W_E_final` is `W_E` at `_final`."""
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
    return name.removesuffix(suffix), suffix
