"""Where each model family keeps what metrics read. One file per family.

A family file has `FAMILY`, the `model_type` of its configuration, and `SITES`: for each weight site a function from
the module's parameters by name to the tensor in TransformerLens orientation; those of attention heads are in
`head_matrices.py` for all families. `NEURONS`, where it is there, is the name of the module, `{}` for the
layer, whose output is the neurons after their activation; `AUTO` is the class to build with, where it is no causal
language model; `SUPERFLUOUS` are how the names of tensors begin that the file may hold for parts that are not
measured. A file of tensor names (`names_*.py`) has `matches`, `config` and `convert` for checkpoints that come without
a configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from dynamics.architectures.head_matrices import FAMILIES as WITH_HEADS
from dynamics.architectures.head_matrices import NAMES as HEAD_SITES
from dynamics.architectures.head_matrices import head_matrix, numbered
from dynamics.checkpoint import Weights
from dynamics.errors import CheckpointError, UsageError
from dynamics.loading import remote_code

# Where no configuration says it: positions that need no table, as in BLOOM, have no end.
ANY_LENGTH = 2048
# Masks, frequencies and positions that files hold among the parameters, as older versions of transformers saved them.
BUFFERS = (".rope_cos", ".rope_sin", ".inv_freq", ".cos_cached", ".sin_cached", ".attn.mask", ".attn.bias",
           ".attention.bias", ".masked_bias")  # fmt: skip
_SIZES = {
    "num_hidden_layers": ("n_layers", "n_layer", "num_layers"),
    "num_attention_heads": ("n_heads", "n_head", "num_heads", "attention_n_heads"),
    "hidden_size": ("d_model", "n_embd"),
    "vocab_size": ("d_vocab",),
    "max_position_embeddings": ("n_ctx", "n_positions", "max_seq_len", "seq_length"),
}
Convert = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class Architecture:
    """How to build the module of a checkpoint, and the names its tensors have there."""

    config: PretrainedConfig
    convert: Convert | None = None  # None: transformers' own mapping of names applies
    model: type[PreTrainedModel] | None = None  # a class that the checkpoint brings along
    own_code: str = ""  # what to write beside the numbers that it gives


def recognise(weights: Weights) -> Architecture:
    """The architecture of a checkpoint, from its configuration or else from its tensors' names and shapes."""
    if weights.config is not None and weights.code is not None and remote_code.names(weights.config):
        config, model = remote_code.load(weights.config, weights.code)
        return Architecture(config, model=model, own_code=remote_code.describe(weights.config, weights.code))
    known = weights.config or {}
    if "model_type" in known:
        return Architecture(_from_json(dict(known)))
    for names in _modules("names_"):
        if names.matches(weights.tensors):
            return Architecture(names.config(weights.tensors, {**weights.settings, **known}), names.convert)
    shown = ", ".join(list(weights.tensors)[:4])
    msg = (
        f"no architecture is known for tensors {shown}, ... without a config.json that names a 'model_type'; expected "
        f"the names of {', '.join(module.__name__.rsplit('names_')[1] for module in _modules('names_'))}, or the "
        "config.json that save_pretrained writes"
    )
    raise CheckpointError(msg)


def build(
    config: PretrainedConfig, model: type[PreTrainedModel] | None = None, *, device: str = "cpu"
) -> PreTrainedModel:
    """The module of a configuration, its parameters not yet filled: a causal language model, unless the family's file
    or the checkpoint itself names another class. On the device "meta" it is a skeleton: shapes without values."""
    auto = getattr(_of_family(config.model_type), "AUTO", AutoModelForCausalLM)
    with torch.device(device), no_init_weights():
        # Where it is not forbidden, the library asks on the terminal whether to run a stranger's code.
        module = auto.from_config(config, trust_remote_code=False) if model is None else model._from_config(config)
    module.tie_weights()
    return module


def size(config: PretrainedConfig, name: str) -> int:
    """A size of the model by transformers' name for it, or by one of those that other configurations have."""
    for known in (name, *_SIZES[name]):
        if isinstance(value := getattr(config, known, None), int):
            return value
    if name == "max_position_embeddings":
        return ANY_LENGTH
    msg = f"the configuration of {config.model_type!r} has no {name!r}; known names are {', '.join(_SIZES[name])}"
    raise CheckpointError(msg)


def is_buffer(name: str) -> bool:
    """Whether a tensor, where no parameter has its name, is one that files hold and that training does not change."""
    return f".{name}".endswith(BUFFERS)


def is_superfluous(family: str, name: str) -> bool:
    """Whether a tensor has no place in the module and needs none: a buffer, or of a head that is not measured."""
    return is_buffer(name) or name.startswith(getattr(_of_family(family), "SUPERFLUOUS", ()))


def sizes(config: PretrainedConfig, n_params: int) -> dict[str, Any]:
    """The sizes of a model under the field's names."""
    known = {"n_layers": "num_hidden_layers", "n_heads": "num_attention_heads", "d_model": "hidden_size",
             "d_vocab": "vocab_size", "n_ctx": "max_position_embeddings"}  # fmt: skip
    return {"family": config.model_type} | {ours: size(config, name) for ours, name in known.items()} | {
        "n_params": n_params
    }


def weight_site(config: PretrainedConfig, site: str, parameters: Mapping[str, Tensor]) -> Tensor:
    """One weight site of a module, in TransformerLens orientation."""
    family = config.model_type
    sites: dict[str, Callable[[Mapping[str, Tensor]], Tensor]] = families().get(family, {})
    if site in HEAD_SITES and family in WITH_HEADS:
        return head_matrix(config, site, parameters)
    if site not in sites:
        able = [name for name, theirs in families().items() if site in theirs]
        able += [name for name in WITH_HEADS if site in HEAD_SITES]
        msg = f"site {site!r} is not mapped for model family {family!r}; it is for {', '.join(able)}"
        raise UsageError(msg)
    return sites[site](parameters)


def neurons_of_last_layer(module: PreTrainedModel) -> nn.Module:
    """The module whose output is the neurons of the last layer's MLP, after the activation function."""
    family = module.config.model_type
    able = {file.FAMILY: file.NEURONS for file in _modules("") if hasattr(file, "NEURONS")}
    found = numbered(dict(module.named_modules()), able[family]) if family in able else []
    if not found:
        msg = f"site 'mlp_post' is not mapped for model family {family!r} or it has no MLP; it is for {', '.join(able)}"
        raise UsageError(msg)
    return found[-1]


@cache
def families() -> dict[str, dict[str, Any]]:
    """The weight sites of every family that has a file here."""
    return {module.FAMILY: module.SITES for module in _modules("") if hasattr(module, "FAMILY")}


def _from_json(settings: dict[str, Any]) -> PretrainedConfig:
    families()  # our own family announces itself to transformers when its file is imported
    family = settings.pop("model_type")
    try:
        return AutoConfig.for_model(family, **settings)
    except ValueError as error:
        msg = f"model family {family!r} is unknown to the installed transformers"
        if brought := remote_code.names(settings):
            msg += f". The checkpoint brings code of its own ({', '.join(sorted(set(brought.values())))}), which was " \
                   f"not run: {remote_code.ALLOW}"  # fmt: skip
        raise CheckpointError(msg) from error


def _of_family(family: str) -> ModuleType | None:
    return next((module for module in _modules("") if getattr(module, "FAMILY", None) == family), None)


@cache
def _modules(prefix: str) -> tuple[ModuleType, ...]:
    names = (module.name for module in iter_modules(__path__))
    return tuple(import_module(f"{__name__}.{name}") for name in sorted(names) if name.startswith(prefix))
