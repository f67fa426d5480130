"""What can be measured of a model, told from its configuration alone: no weights are read.

The family's module is built without values, and every site that a metric reads is looked for in it.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import polars as pl
from transformers import PretrainedConfig, PreTrainedModel

from dynamics.architectures import build, neurons_of_last_layer, recognise, size, weight_site
from dynamics.checkpoint import Files, Weights, files_in, read_json
from dynamics.errors import DynamicsError, UsageError
from dynamics.sites.ablation import check_silenceable
from dynamics.sites.own_attention import computes_its_own
from dynamics.sites.residual import layers_of
from dynamics.sources import open_series
from dynamics.tasks import Subject, build_task
from metrics import METRICS, Metric
from metrics.contract import WEIGHT_SITES

# What is read of the attention, or needs it, and what is read once the last layer is through.
OF_ATTENTION = ("attention", "attention_rows", "ablated_loss_at")
OF_LAYERS = ("resid_post", "lens", "lens_target", "tuned_lens")
FAST, WHOLE = "log-sum-exp", "whole pattern"
# What a task has no default for.
REQUIRED = {"ablation": {"heads": ["0.0"]}}


def metrics_of(model: str) -> pl.DataFrame:
    """Every metric: whether the model, and its task with default settings, have what it reads; which way is taken to
    it, and why. `model` is a series or a folder with a config.json."""
    skeleton = Skeleton(_described(model))
    rows = [(metric.name, metric.task or "", *skeleton.answer(metric)) for metric in METRICS.values()]
    return pl.DataFrame(rows, schema=["metric", "task", "measured", "way", "why"], orient="row").sort("metric")


class Skeleton:
    """A model without values, and what its attention is computed by."""

    def __init__(self, files: Files) -> None:
        if files.config is None:
            msg = "the checkpoint brings no config.json, so only its weights say what it is; measure it to see"
            raise UsageError(msg)
        known = Weights({}, "", 0, "", read_json(files.config), code=files.code)
        architecture = recognise(known)
        self.files = files
        self.refusals: dict[str, str] = {}  # by task
        self.module = build(architecture.config, architecture.model, device="meta")

    @property
    def config(self) -> PretrainedConfig:
        """The configuration, with transformers' names."""
        return self.module.config

    def answer(self, metric: Metric) -> tuple[str, str, str]:
        """Whether a metric can be measured ("yes", "no"), the way that is taken, and why."""
        try:
            self._check_task(metric)
            for name in sorted(metric.sites() | metric.sites("_final") | metric.sites("_first")):
                self._check_site(name)
        except DynamicsError as error:
            return "no", "", str(error)
        if metric.sites() & set(OF_ATTENTION):
            way, why = attention_way(self.module)
            asked = ", ".join(repr(setting) for setting in REQUIRED.get(metric.task or "", {}))
            return "yes", way, f"{why}; give {asked} of [tasks.{metric.task}]" if asked else why
        if metric.sites() & {"loss_at", "token_loss", "token_correct", "logits"}:
            return "yes", "logits read", "only the positions that a metric reads are unembedded, some rows at a time"
        if metric.task is None:
            return "yes", "weights", "no pass over tokens is needed"
        return "yes", "one pass", "shared with every metric of its task"

    def _check_task(self, metric: Metric) -> None:
        task = metric.task
        if task is None:
            return
        if task not in self.refusals:
            self.refusals[task] = self._why_not(task)
        if self.refusals[task]:
            raise UsageError(self.refusals[task])

    def _why_not(self, task: str) -> str:
        """Why a task with its default settings does not fit the model; nothing where it does."""
        d_vocab, n_ctx = (size(self.config, name) for name in ("vocab_size", "max_position_embeddings"))
        try:
            build_task(task, REQUIRED.get(task, {}), Subject(d_vocab, n_ctx, 0, self.files.tokenizer))
        except DynamicsError as error:
            return f"task {task!r}: {error}"
        return ""

    def _check_site(self, name: str) -> None:
        if name in WEIGHT_SITES and name not in ("weights", "spectra"):
            parameters = {key: parameter.detach() for key, parameter in self.module.named_parameters()}
            try:
                weight_site(self.config, name, parameters)
            except (RuntimeError, KeyError) as error:  # nothing to stack: a model of attention alone has no MLP
                msg = f"the model has nothing for site {name!r}"
                raise UsageError(msg) from error
        elif name == "ablated_loss_at":
            check_silenceable(self.module)
        elif name == "mlp_post":
            neurons_of_last_layer(self.module)
        elif name in OF_LAYERS:
            layers_of(self.module)
        elif name in ("loss_at", "token_loss", "token_correct", "logits") and not self._unembeds:
            msg = f"model family {self.config.model_type!r} has no unembedding, so it gives no logits"
            raise UsageError(msg)

    @cached_property
    def _unembeds(self) -> bool:
        return self.module.get_output_embeddings() is not None


def attention_way(module: PreTrainedModel) -> tuple[str, str]:
    """How attention is read, and why: what `dynamics/sites/kernels.py` does on a processor, told beforehand."""
    config = module.config
    if computes_its_own(module):
        return WHOLE, f"the code of {config.model_type} computes attention itself and hands its pattern on"
    if getattr(config, "attn_logit_softcapping", None):
        return WHOLE, f"scores are soft-capped at {config.attn_logit_softcapping}"
    if any(name.endswith("sinks") for name, _ in module.named_parameters()):
        return WHOLE, "learned sinks take part in the softmax"
    hidden = " under a mask for its windows" if getattr(config, "sliding_window", None) else ""
    return FAST, f"the fused kernel gives the log-sum-exp of every query{hidden}"


def _described(model: str) -> Files:
    """The files of a model but its weights: those of a folder, or of the first checkpoint of a series."""
    folder = Path(model.removeprefix("folder:")).expanduser()
    if (folder / "config.json").is_file():
        return files_in(folder)
    series = open_series(f"folder:{model}" if folder.is_dir() and ":" not in model else model, include_defective=True)
    return series.describe(series.checkpoints[0])
