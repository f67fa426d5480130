"""What is read of weights alone comes from their files: no module is filled, and nothing is cast.

Parameters have the names of the series' module, of which a skeleton without values is made. A family that
transformers has no class for keeps the names of its files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig

from dynamics.architectures import Architecture, build, is_buffer, recognise, sizes, weight_site
from dynamics.checkpoint import Weights
from dynamics.errors import CheckpointError, UsageError
from dynamics.loading.mapping import Plan, check_finite, essential, match, merge
from dynamics.loading.remote_code import names


@dataclass(frozen=True)
class StoredSites:
    """The weight sites of one checkpoint, in the precision of its files."""

    parameters: Mapping[str, Tensor]
    config: PretrainedConfig | None

    def site(self, name: str) -> Any:
        """`weights`, every parameter by name, or a matrix in TransformerLens orientation."""
        if name == "weights":
            return self.parameters
        if self.config is None:
            msg = f"site {name!r} is not mapped for a model that transformers has no class for; its metrics can read " \
                  "'weights' and 'spectra'"  # fmt: skip
            raise UsageError(msg)
        return weight_site(self.config, name, self.parameters)


class WeightReader:
    """Reads the checkpoints of one series, strictly: the same names and shapes at each."""

    def __init__(self, *, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self._settings: Mapping[str, Any] | None = None
        self._skeleton: _Skeleton | None = None
        self._shapes: dict[str, torch.Size] | None = None

    def read(self, weights: Weights) -> StoredSites:
        """The sites of a checkpoint, which outlive it. Raises `CheckpointError` where they are not to be trusted."""
        settings = self._settings if weights.config is None else essential(weights.config)
        if self._settings is None or self._settings != settings:
            self._settings, self._skeleton = settings or {}, _skeleton(weights)
        parameters = self._skeleton.fill(weights.tensors) if self._skeleton else self._by_file(weights)
        check_finite(parameters)
        # Mapped files that nobody writes to outlive even their deletion.
        parameters = {name: t.to(self.device, copy=not weights.immutable) for name, t in parameters.items()}
        return StoredSites(parameters, self._skeleton.architecture.config if self._skeleton else None)

    def sizes(self, sites: StoredSites) -> dict[str, Any]:
        """What the weights tell of the model's sizes."""
        n_params = sum(tensor.numel() for tensor in sites.parameters.values())
        return {"n_params": n_params} if sites.config is None else sizes(sites.config, n_params)

    def _by_file(self, weights: Weights) -> dict[str, Tensor]:
        found = {
            name: tensor for name, tensor in weights.tensors.items()
            if tensor.is_floating_point() and not is_buffer(name)
        }  # fmt: skip
        shapes = {name: tensor.shape for name, tensor in found.items()}
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            other = sorted(name for name in {*shapes, *self._shapes} if shapes.get(name) != self._shapes.get(name))
            msg = f"{len(other)} tensors differ in name or shape from those of the series' other checkpoints, first " \
                  f"{other[0]!r}; the file is incomplete or belongs to another model"  # fmt: skip
            raise CheckpointError(msg)
        return found


class _Skeleton:
    """The module of a family without its values: which parameters there are, and which tensors of a file fill them."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.module = build(architecture.config, architecture.model, device="meta")
        self.slots: dict[str, Tensor] = dict(self.module.state_dict(keep_vars=True))
        self.plans: dict[frozenset[str], Plan] = {}

    def fill(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every parameter by name; a tied one has one name."""
        convert = self.architecture.convert
        tensors = convert(tensors) if convert else tensors
        key = frozenset(tensors)
        if key not in self.plans:
            self.plans[key] = match(self.module, self.slots, tensors)
        plan = self.plans[key]
        filled = {slot: tensors[name] for name, slot in plan.slots.items()}
        for slot, parts in plan.merged.items():
            filled |= merge(self.module, plan, slot, parts, tensors)
        by_slot = {id(self.slots[slot]): tensor for slot, tensor in filled.items()}
        parameters = {name: by_slot[id(slot)] for name, slot in self.module.named_parameters()}
        for name, slot in self.module.named_parameters():
            if slot.shape != parameters[name].shape:
                msg = f"{name!r} has shape {list(parameters[name].shape)}; the model expects {list(slot.shape)}"
                raise CheckpointError(msg)
        return parameters


def _skeleton(weights: Weights) -> _Skeleton | None:
    if weights.code is not None and names(weights.config or {}):
        return None  # nobody's code has to run for what is in the files
    try:
        return _Skeleton(recognise(weights))
    except CheckpointError:
        return None  # transformers has no class for it
