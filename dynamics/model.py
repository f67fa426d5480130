"""One module for a whole series: built once, its weights swapped in place and strictly.

Names go through transformers' own mapping, so that a file's `embed_out` reaches the module's `lm_head`. A tensor that
is missing, unexpected, of another shape or not finite is an error: a stale tensor of the checkpoint before would be
measured as if it were this one's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key

from dynamics.architectures import Architecture, recognise, weight_site
from dynamics.checkpoint import Weights
from dynamics.errors import CheckpointError

# Settings that differ between checkpoints of one model without changing what it computes.
_INERT = frozenset({"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "architectures"})


class SeriesModel:
    """The model of a series, holding the weights of the checkpoint last loaded."""

    def __init__(
        self, weights: Weights, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self._build(recognise(weights), weights)
        self.load(weights)

    @property
    def config(self) -> PretrainedConfig:
        """The configuration, with transformers' names."""
        return self.module.config

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return int(self.config.num_hidden_layers)

    def load(self, weights: Weights) -> None:
        """Swap in another checkpoint's weights, or raise `CheckpointError` and hold none to be trusted."""
        if weights.config is not None and _essential(weights.config) != self._essential:
            self._build(recognise(weights), weights)
        tensors = self._architecture.convert(weights.tensors) if self._architecture.convert else weights.tensors
        plan = self._plan(tensors)
        with torch.no_grad():
            for name, tensor in tensors.items():
                slot = plan[name]
                if slot is None:
                    continue
                target = self._slots[slot]
                if target.shape != tensor.shape:
                    msg = f"tensor {name!r} has shape {list(tensor.shape)}; the model expects {list(target.shape)}"
                    raise CheckpointError(msg)
                target.copy_(tensor, non_blocking=True)
        self._check_finite()

    def site(self, name: str) -> Any:
        """A weight site: `weights`, every parameter by name, or a matrix in TransformerLens orientation."""
        parameters = {key: parameter.detach() for key, parameter in self.module.named_parameters()}
        return parameters if name == "weights" else weight_site(self.config, name, parameters)

    def sizes(self) -> dict[str, Any]:
        """The sizes of the model under the field's names."""
        config = self.config
        return {
            "family": config.model_type,
            "n_layers": self.n_layers,
            "n_heads": int(config.num_attention_heads),
            "d_model": int(config.hidden_size),
            "d_vocab": int(config.vocab_size),
            "n_ctx": int(config.max_position_embeddings),
            "n_params": sum(parameter.numel() for parameter in self.module.parameters()),
        }

    def _build(self, architecture: Architecture, weights: Weights) -> None:
        self._architecture = architecture
        self._essential = _essential(weights.config or {})
        with torch.device("cpu"):
            module = AutoModelForCausalLM.from_config(architecture.config, attn_implementation="sdpa")
        self.module: PreTrainedModel = module.to(device=self.device, dtype=self.dtype).eval().requires_grad_(False)
        # Tied parameters appear once by name in named_parameters, and under both names in the state dict.
        self._slots: dict[str, Tensor] = dict(self.module.state_dict(keep_vars=True))
        self._plans: dict[frozenset[str], dict[str, str | None]] = {}

    def _plan(self, tensors: Mapping[str, Tensor]) -> dict[str, str | None]:
        """Where each tensor of the file goes; None for buffers that the module makes itself. Raises unless strict."""
        key = frozenset(tensors)
        if key not in self._plans:
            self._plans[key] = _match(self.module, self._slots, tensors)
        return self._plans[key]

    def _check_finite(self) -> None:
        for name, parameter in self.module.named_parameters():
            # One pass in the common case; a sum can overflow, so it only raises suspicion.
            if not torch.isfinite(parameter.sum()) and not torch.isfinite(parameter).all():
                bad = int((~torch.isfinite(parameter)).sum())
                msg = f"weights are not finite: {bad} of {parameter.numel()} values of {name!r} are NaN or infinite"
                raise CheckpointError(msg)


def _match(
    module: PreTrainedModel, slots: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> dict[str, str | None]:
    transforms = get_model_conversion_mapping(module)
    renamings = [transform for transform in transforms if isinstance(transform, WeightRenaming)]
    converters: list[Any] = [transform for transform in transforms if not isinstance(transform, WeightRenaming)]
    plan: dict[str, str | None] = {}
    unexpected = []
    for name in tensors:
        target, pattern = rename_source_key(name, renamings, converters, module.base_model_prefix or None, dict(slots))
        if pattern is not None:
            msg = f"tensor {name!r} must be merged with others to load into {module.config.model_type!r}; " \
                  "merged experts are not supported"  # fmt: skip
            raise CheckpointError(msg)
        if target not in slots and name in slots:
            target = name
        if target in slots:
            plan[name] = target
        else:
            plan[name] = None
            unexpected.append(name)
    missing = _missing(slots, plan)
    info = _Info(missing, set(unexpected))
    module._adjust_missing_and_unexpected_keys(info)  # pyright: ignore[reportArgumentType]
    if info.missing_keys or info.unexpected_keys:
        msg = (
            f"the tensors do not fit the model {module.config.model_type!r}: "
            f"{_some('missing', info.missing_keys)}; {_some('unexpected', info.unexpected_keys)}. "
            "The file is incomplete or belongs to another model"
        )
        raise CheckpointError(msg)
    return plan


def _missing(slots: Mapping[str, Tensor], plan: Mapping[str, str | None]) -> set[str]:
    """Slots that no tensor fills, by storage: a tied parameter is filled under either of its names."""
    filled = {id(slots[target]) for target in plan.values() if target}
    return {name for name, slot in slots.items() if id(slot) not in filled}


class _Info:
    """What transformers' rules of ignorable keys read and write."""

    def __init__(self, missing_keys: set[str], unexpected_keys: set[str]) -> None:
        self.missing_keys, self.unexpected_keys = missing_keys, unexpected_keys


def _some(kind: str, names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return f"{len(names)} {kind}" + (f" ({shown}{', ...' if len(names) > 3 else ''})" if names else "")


def _essential(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in _INERT}


def unembedding(module: PreTrainedModel) -> nn.Module:
    """The module that turns the last residual stream into logits."""
    head = module.get_output_embeddings()
    if not isinstance(head, nn.Module):
        msg = f"model family {module.config.model_type!r} has no unembedding, so it gives no logits to measure"
        raise CheckpointError(msg)
    return head
