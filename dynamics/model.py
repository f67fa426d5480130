"""One module for a whole series: built once, its weights swapped in place and strictly.

Names go through transformers' own mapping, so that a file's `embed_out` reaches the module's `lm_head`. A tensor that
is missing, unexpected, of another shape or not finite is an error: a stale tensor of the checkpoint before would be
measured as if it were this one's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from dynamics.architectures import Architecture, build, is_superfluous, recognise, weight_site
from dynamics.checkpoint import Weights
from dynamics.errors import CheckpointError

# Settings that differ between checkpoints of one model without changing what it computes.
_INERT = frozenset({"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "architectures"})


@dataclass(frozen=True)
class _Plan:
    """Where each tensor of a file goes: into a slot of its own, or with others into a merged one.

    Tensors in neither are buffers that the module makes itself, or of parts that are not measured.
    """

    slots: dict[str, str]
    merged: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # slot: tensors, and the pattern of each
    converters: dict[str, WeightConverter] = field(default_factory=dict)  # by pattern


class SeriesModel:
    """The model of a series, holding the weights of the checkpoint last loaded.

    `changed` names the settings by which the checkpoint last loaded differs from the one before, for which the
    module was built anew.
    """

    def __init__(
        self, weights: Weights, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self.changed = ""
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
        self.changed = ""
        if weights.config is not None and _essential(weights.config) != self._essential:
            before = self._essential
            self._build(recognise(weights), weights)
            self.changed = _difference(before, self._essential)
        tensors = self._architecture.convert(weights.tensors) if self._architecture.convert else weights.tensors
        plan = self._plan(tensors)
        with torch.no_grad():
            for name, slot in plan.slots.items():
                self._fill(slot, name, tensors[name], weights.immutable)
            for slot, parts in plan.merged.items():
                for name, tensor in _merge(self.module, plan, slot, parts, tensors).items():
                    self._fill(name, parts[0][0], tensor, weights.immutable)
        self._check_finite()

    def _fill(self, slot: str, name: str, tensor: Tensor, immutable: bool) -> None:
        target = self._slots[slot]
        if target.shape != tensor.shape:
            msg = f"tensor {name!r} has shape {list(tensor.shape)}; the model expects {list(target.shape)}"
            raise CheckpointError(msg)
        if immutable and tensor.dtype == target.dtype and tensor.device == target.device:
            target.data = tensor  # mapped into memory, and nobody can change the file: no copy is needed
        else:
            target.copy_(tensor, non_blocking=True)

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
        module = build(architecture.config)  # every parameter is filled from the file, or it is an error
        nn.Module.to(module, device=self.device, dtype=self.dtype)
        self.module: PreTrainedModel = module.eval().requires_grad_(False)
        # Tied parameters appear once by name in named_parameters, and under both names in the state dict.
        self._slots: dict[str, Tensor] = dict(self.module.state_dict(keep_vars=True))
        self._plans: dict[frozenset[str], _Plan] = {}

    def _plan(self, tensors: Mapping[str, Tensor]) -> _Plan:
        """Where each tensor of the file goes. Raises unless every parameter is filled and every tensor has a place."""
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


def _match(module: PreTrainedModel, slots: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> _Plan:
    transforms = get_model_conversion_mapping(module)
    renamings = [transform for transform in transforms if isinstance(transform, WeightRenaming)]
    converters = [transform for transform in transforms if isinstance(transform, WeightConverter)]
    known, prefix = dict(slots), module.base_model_prefix or None
    plan = _Plan({}, converters={pattern: c for c in converters for pattern in c.source_patterns})
    merged: dict[str, list[tuple[str, str]]] = defaultdict(list)
    unexpected = []
    for name in sorted(tensors, key=_by_number):
        target, pattern = rename_source_key(name, renamings, converters, prefix, known)
        if target not in slots and name in slots:
            target, pattern = name, None
        if target not in slots:
            unexpected.append(name)
        elif pattern is not None:
            merged[target].append((name, pattern))
        else:
            plan.slots[name] = target
    plan.merged.update(merged)
    filled = {*plan.slots.values()}
    for target, parts in merged.items():
        filled |= set(_merge(module, plan, target, parts, tensors))
    family = module.config.model_type
    info = _Info(_missing(slots, filled), {name for name in unexpected if not is_superfluous(family, name)})
    module._adjust_missing_and_unexpected_keys(info)  # pyright: ignore[reportArgumentType]
    if info.missing_keys or info.unexpected_keys:
        msg = (
            f"the tensors do not fit the model {family!r}: {_some('missing', info.missing_keys)}; "
            f"{_some('unexpected', info.unexpected_keys)}. The file is incomplete or belongs to another model"
        )
        raise CheckpointError(msg)
    return plan


def _merge(
    module: PreTrainedModel, plan: _Plan, slot: str, parts: list[tuple[str, str]], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The parameters that several tensors of the file make together, by transformers' own operations."""
    converter = deepcopy(plan.converters[parts[0][1]])
    for name, pattern in parts:
        converter.add_tensor(slot, name, pattern, tensors[name])  # pyright: ignore[reportArgumentType]
    try:
        made = converter.convert(slot, model=module, config=module.config)
    except (RuntimeError, ValueError, IndexError) as error:
        msg = f"{len(parts)} tensors from {parts[0][0]!r} on do not merge into {slot!r}: {error}; some are missing"
        raise CheckpointError(msg) from error
    return {name: value[0] if isinstance(value, list) else value for name, value in made.items()}


def _by_number(name: str) -> list[tuple[int, int | str]]:
    """Expert 10 after expert 2: merged tensors are stacked in this order."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in name.split(".")]


def _missing(slots: Mapping[str, Tensor], filled: set[str]) -> set[str]:
    """Slots that no tensor fills, by storage: a tied parameter is filled under either of its names."""
    done = {id(slots[target]) for target in filled if target in slots}
    return {name for name, slot in slots.items() if id(slot) not in done}


class _Info:
    """What transformers' rules of ignorable keys read and write."""

    def __init__(self, missing_keys: set[str], unexpected_keys: set[str]) -> None:
        self.missing_keys, self.unexpected_keys = missing_keys, unexpected_keys


def _some(kind: str, names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return f"{len(names)} {kind}" + (f" ({shown}{', ...' if len(names) > 3 else ''})" if names else "")


def _essential(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in _INERT}


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    shown = ", ".join(f"{name} {before.get(name)} -> {after.get(name)}" for name in changed[:4])
    return f"the configuration changes here, so the model was built anew: {shown}" + ", ..." * (len(changed) > 4)


def unembedding(module: PreTrainedModel) -> nn.Module:
    """The module that turns the last residual stream into logits."""
    head = module.get_output_embeddings()
    if not isinstance(head, nn.Module):
        msg = f"model family {module.config.model_type!r} has no unembedding, so it gives no logits to measure"
        raise CheckpointError(msg)
    return head
