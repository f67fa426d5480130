"""One forward pass for each task: every metric of the task reads from it, and nothing is computed that none reads.

The pass stops after the last layer's attention when no metric reads what comes later; only the positions that are
read are unembedded, a few rows at a time, so that no tensor of [batch pos d_vocab] is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dynamics.architectures import neurons_of_last_layer
from dynamics.errors import UsageError
from dynamics.gathering import Gathered
from dynamics.loading.stored import StoredSites
from dynamics.model import SeriesModel
from dynamics.sites import kernels, langevin, lens, residual, tuned_lens
from dynamics.sites.ablation import Remember, Silence
from dynamics.sites.running import Enough, run
from dynamics.sites.unembed import logits, losses_at, predictions
from dynamics.tasks import TOKENS_PER_BATCH, Task
from metrics.attention import Attention
from metrics.contract import ACTIVATION_SITES, REFERABLE_ACTIVATIONS, SAMPLED, SUFFIXES, Metric, split
from metrics.spectrum import spectra

# Queries of each example whose attention can be compared with another checkpoint's: with 64 examples of 513 tokens and
# 144 heads these are 75 MB.
ROWS = 8

# Where the translators of a tuned lens are handed on; no metric reads them.
TRANSLATORS = "translators"

# The metrics' answers, by metric and layer (None where it has none).
Readings = Gathered[tuple[str, int | None]]
# Together: a tensor, or a value by label.
Answer = Tensor | Mapping[str, Tensor]


def measure_task(
    model: SeriesModel, task: Task, metrics: Sequence[Metric], references: Mapping[str, Any],
    keep: dict[str, Tensor] | None = None,
) -> dict[tuple[str, int | None], Answer]:
    """All metrics of one task from one pass over it.

    `references` holds the sites of other checkpoints by their full name, such as `W_U_final`; activations that are not
    there are NaN. Returns, by metric and layer, [n_examples ...] for metrics with a value per example and the exact
    value for the others. Into `keep` go the activations that were read of all examples.
    """
    readings: Readings = Gathered(task.n_examples)
    kept: Gathered[str] = Gathered(task.n_examples)
    by_example = [metric for metric in metrics if not metric.at_once]
    at_once = [metric for metric in metrics if metric.at_once]
    read_at_once = {site for metric in at_once for site in metric.sites() if site in ACTIVATION_SITES}
    activations = read_at_once - {*SAMPLED}
    weights = {name: read_site(model, name) for name in _weight_sites(metrics)} | dict(references)
    if any("tuned_lens" in metric.reads for metric in by_example):
        weights[TRANSLATORS] = _tune(model.module, task)
    if by_example or activations:
        for batch in task.batches(model.device):
            for site, value in _pass(model, task, batch, by_example, activations, weights, readings).items():
                kept.add(site, value)
    activations_kept = kept.whole()
    if keep is not None:
        keep |= activations_kept
    whole = task.whole(model.device) | weights | activations_kept
    for name in {name for metric in at_once for name in metric.reads if name not in whole}:
        if split(name)[0] in activations_kept:
            whole[name] = torch.full_like(activations_kept[split(name)[0]], float("nan"))
    if read_at_once & {*SAMPLED}:
        whole |= langevin.around(model.module, whole["tokens"], task.fields["sampling"])
    answers: dict[tuple[str, int | None], Answer] = dict(readings.whole())
    for metric in at_once:
        answers[metric.name, None] = metric.function(**{name: whole[name] for name in metric.reads})
    return answers


def _tune(module: PreTrainedModel, task: Task) -> tuned_lens.Translators:
    """A tuned lens for the weights that the model holds now, trained on the windows that the task sets apart."""
    training: Tensor = task.fields["training_tokens"].to(module.device)
    places = residual.spread(training.shape[1], residual.POSITIONS)
    rows: list[list[Tensor]] = []
    finals: list[Tensor] = []
    norm = None
    for tokens in training.split(max(1, TOKENS_PER_BATCH // training.shape[1])):
        with torch.no_grad(), lens.watching(module, places) as stream:
            hidden = run(module, tokens, None)
            assert hidden is not None
            assert stream is not None
            norm = stream.norm(hidden)
        rows.append([layer.flatten(0, 1) for layer in stream.residual])
        finals.append(hidden[:, places].flatten(0, 1))
    assert norm is not None
    by_layer = [torch.cat(parts) for parts in zip(*rows, strict=True)]
    return tuned_lens.fit(module, norm, by_layer, torch.cat(finals), task.fields["training"])


def measure_weights(
    stored: StoredSites, metrics: Sequence[Metric], references: Mapping[str, Any]
) -> dict[tuple[str, int | None], Answer]:
    """Metrics that read nothing but weights, and so need no pass."""
    sites = {name: read_site(stored, name) for name in _weight_sites(metrics)} | dict(references)
    return {(m.name, None): m.function(**{name: sites[name] for name in m.reads}) for m in metrics}


def read_activations(model: SeriesModel, task: Task, sites: set[str]) -> dict[str, Tensor]:
    """Sites of one pass over a task, over all its examples; to be referred to from other checkpoints."""
    kept: Gathered[str] = Gathered(task.n_examples)
    for batch in task.batches(model.device):
        for site, value in _pass(model, task, batch, [], sites, {}, Gathered(task.n_examples)).items():
            kept.add(site, value)
    return kept.whole()


def read_site(model: SeriesModel | StoredSites, name: str) -> Any:
    """A weight site of the checkpoint that the model holds, or that its files hold."""
    return spectra(model.site("weights")) if name == "spectra" else model.site(name)


@torch.inference_mode()
def _pass(
    model: SeriesModel,
    task: Task,
    batch: dict[str, Any],
    metrics: Sequence[Metric],
    kept: set[str],
    weights: Mapping[str, Any],
    readings: Readings,
) -> dict[str, Tensor]:
    """Run the model on one batch; call the metrics of each site as it comes by; return the sites to keep."""
    layered = [metric for metric in metrics if "attention" in metric.reads]
    lenses = [metric for metric in metrics if {"lens", "tuned_lens"} & {*metric.reads}]
    later = [metric for metric in metrics if metric not in layered + lenses]
    given = batch | dict(weights)
    if "inputs" in batch:
        sites = {"outputs": model.module(inputs=batch["inputs"])}
        return _read(metrics, given | sites, sites, kept, readings)

    wanted = {site for metric in later for site in metric.sites()} | kept
    if not (layered or lenses or wanted & {*ACTIVATION_SITES}):
        return _read(later, given, {}, kept, readings)

    def on_attention(layer: int, attention: Attention) -> None:
        for metric in layered:
            sites = {name: attention if name == "attention" else given[name] for name in metric.reads}
            readings.add((metric.name, layer), metric.function(**sites))
        if layer == model.n_layers - 1 and not (later or lenses or kept):
            raise Enough

    listener = on_attention if layered else None
    hidden, stream, heard = _listen(model, task, batch, wanted, listener, lens_read=bool(lenses))
    if hidden is None:
        return {}
    if stream is not None:
        _through_the_lens(stream, hidden, lenses, given, readings)
    sites = _after(model.module, task, batch["tokens"], hidden, wanted) | heard
    return _read(later, given | sites, sites, kept, readings)


def _listen(
    model: SeriesModel,
    task: Task,
    batch: Mapping[str, Any],
    wanted: set[str],
    on_attention: kernels.OnAttention | None,
    *,
    lens_read: bool,
) -> tuple[Tensor | None, lens.Stream | None, dict[str, Any]]:
    """Run the model once: the last residual stream, the lens's, and the sites that come by inside of the layers."""
    module, length = model.module, batch["tokens"].shape[1]
    rows: list[Tensor] = []

    def on_rows(layer: int, attention: Attention) -> None:
        rows.append(attention.rows(residual.spread(length, ROWS)).half())
        if on_attention is not None:
            on_attention(layer, attention)

    remember = Remember() if "ablated_loss_at" in wanted else None
    places = residual.spread(length, residual.POSITIONS) if "resid_post" in wanted else None
    with (
        kernels.intervening(remember),
        _listening_to_neurons(model, task, "mlp_post" in wanted) as sites,
        lens.watching(module, residual.spread(length, lens.POSITIONS) if lens_read else None) as stream,
        residual.recording(module, places) as layers,
    ):
        hidden = run(module, batch["tokens"], on_rows if "attention_rows" in wanted else on_attention)
    if layers:
        sites["resid_post"] = torch.stack(layers, 2)
    if rows:
        sites["attention_rows"] = torch.stack(rows, 1).permute(0, 3, 1, 2, 4)
    if remember is not None:
        sites["ablated_loss_at"] = _ablated(module, batch, remember)
    return hidden, stream, sites


def _read(
    metrics: Sequence[Metric], given: Mapping[str, Any], sites: Mapping[str, Any], kept: set[str], readings: Readings
) -> dict[str, Tensor]:
    """Call the metrics of one batch; return the sites to keep."""
    for metric in metrics:
        readings.add((metric.name, None), metric.function(**{name: given[name] for name in metric.reads}))
    return {site: sites[site] for site in kept}


def _through_the_lens(
    stream: lens.Stream, hidden: Tensor, metrics: Sequence[Metric], given: Mapping[str, Any], readings: Readings
) -> None:
    """Call the metrics that read a lens, layer by layer."""
    wanted = {site for metric in metrics for site in metric.sites()}
    for layer, sites in enumerate(stream.sites(hidden, wanted, given.get(TRANSLATORS))):
        for metric in metrics:
            arguments = {name: sites[name] if name in sites else given[name] for name in metric.reads}
            readings.add((metric.name, layer), metric.function(**arguments))


def _ablated(module: PreTrainedModel, batch: Mapping[str, Any], first: Remember) -> Callable[[Sequence[int]], Tensor]:
    """The losses of a second pass, in which the heads that the task names are silent."""
    silence = Silence(module, batch["silenced_heads"], first if batch["patterns"] == "frozen" else None)
    with kernels.intervening(silence):
        hidden = run(module, batch["tokens"], None)
    assert hidden is not None
    return losses_at(module, batch["tokens"], hidden, None)


@contextmanager
def _listening_to_neurons(model: SeriesModel, task: Task, wanted: bool) -> Iterator[dict[str, Any]]:
    """Fills in `mlp_post` while the model runs, where it is wanted."""
    heard: dict[str, Any] = {}
    if not wanted:
        yield heard
        return

    def hear(_: nn.Module, __: object, neurons: Tensor) -> None:
        heard["mlp_post"] = neurons if task.read_positions is None else neurons[:, list(task.read_positions)]

    hook = neurons_of_last_layer(model.module).register_forward_hook(hear)
    try:
        yield heard
    finally:
        hook.remove()


def _after(
    module: PreTrainedModel, task: Task, tokens: Tensor, hidden: Tensor, wanted: set[str]
) -> dict[str, Any]:
    """The sites that come after the last layer."""
    sites: dict[str, Any] = {}
    if wanted & {"token_loss", "token_correct"}:
        sites["token_loss"], sites["token_correct"] = predictions(module, hidden[:, :-1], tokens[:, 1:])
    if "loss_at" in wanted:
        sites["loss_at"] = losses_at(module, tokens, hidden, sites.get("token_loss"))
    if "logits" in wanted:
        read = hidden if task.read_positions is None else hidden[:, list(task.read_positions)]
        sites["logits"] = logits(module, read)
    return sites


def _weight_sites(metrics: Sequence[Metric]) -> set[str]:
    return {site for metric in metrics for site in metric.sites() if site not in ACTIVATION_SITES}


def check_reads(metrics: Sequence[Metric], fields: Sequence[str]) -> None:
    """Raise `UsageError` for a metric that reads what its task has not."""
    for metric in metrics:
        for name in metric.fields():
            if name not in fields:
                msg = f"metric {metric.name!r} reads {name!r}, which task {metric.task!r} has not; it has " \
                      f"{', '.join(fields)}"  # fmt: skip
                raise UsageError(msg)
        for suffix in SUFFIXES:
            kept = {*REFERABLE_ACTIVATIONS} if suffix != "_previous_previous" else set()
            if refused := sorted(metric.sites(suffix) & {*ACTIVATION_SITES} - kept):
                msg = (
                    f"metric {metric.name!r} reads {refused[0]} of another checkpoint; of activations only "
                    f"{', '.join(REFERABLE_ACTIVATIONS)} of the first, the last and the one before can be referred "
                    "to, and every weight site of any"
                )
                raise UsageError(msg)
