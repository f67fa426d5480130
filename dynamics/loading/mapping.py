"""Which tensor of a file goes where in a module, by transformers' own mapping of names, and whether all is there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from dynamics.architectures import is_superfluous
from dynamics.errors import CheckpointError

# Settings that differ between checkpoints of one model without changing what it computes.
_INERT = frozenset({"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "architectures"})


@dataclass(frozen=True)
class Plan:
    """Where each tensor of a file goes: into a slot of its own, or with others into a merged one.

    Tensors in neither are buffers that the module makes itself, or of parts that are not measured.
    """

    slots: dict[str, str]
    merged: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # slot: tensors, and the pattern of each
    converters: dict[str, WeightConverter] = field(default_factory=dict)  # by pattern


def match(module: PreTrainedModel, slots: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Plan:
    """Where each tensor of the file goes. Raises unless every parameter is filled and every tensor has a place."""
    transforms = get_model_conversion_mapping(module)
    renamings = [transform for transform in transforms if isinstance(transform, WeightRenaming)]
    converters = [transform for transform in transforms if isinstance(transform, WeightConverter)]
    known, prefix = dict(slots), module.base_model_prefix or None
    plan = Plan({}, converters={pattern: c for c in converters for pattern in c.source_patterns})
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
        filled |= set(merge(module, plan, target, parts, tensors))
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


def merge(
    module: PreTrainedModel, plan: Plan, slot: str, parts: list[tuple[str, str]], tensors: Mapping[str, Tensor]
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


def _by_number(name: str) -> list[tuple[int, str]]:
    """Expert 10 after expert 2: merged tensors are stacked in this order."""
    return [(len(part), part) if part.isdecimal() else (0, part) for part in name.split(".")]


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


def essential(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a configuration that a model's numbers depend on."""
    return {name: value for name, value in config.items() if name not in _INERT}


def check_finite(parameters: Mapping[str, Tensor]) -> None:
    """Raise `CheckpointError` where a parameter has an entry that is NaN or infinite."""
    for name, parameter in parameters.items():
        # One pass in the common case; a sum can overflow, so it only raises suspicion.
        if not torch.isfinite(parameter.sum()) and not torch.isfinite(parameter).all():
            bad = int((~torch.isfinite(parameter)).sum())
            msg = f"weights are not finite: {bad} of {parameter.numel()} values of {name!r} are NaN or infinite"
            raise CheckpointError(msg)
