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
from transformers import PretrainedConfig, PreTrainedModel

from dynamics.architectures import Architecture, build, recognise, size, sizes, weight_site
from dynamics.checkpoint import Weights
from dynamics.errors import CheckpointError
from dynamics.loading.mapping import Plan, check_finite, essential, match, merge
from dynamics.loading.placement import DeviceMap, Parameters, Placement, place
from dynamics.loading.remote_code import digest


class SeriesModel:
    """The model of a series, holding the weights of the checkpoint last loaded.

    `changed` names the settings by which the checkpoint last loaded differs from the one before, for which the
    module was built anew. A `device_map` says where layers rest that are too many for the device.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        device_map: DeviceMap | None = None,
    ) -> None:
        self.device, self.dtype, self.device_map = torch.device(device), dtype, device_map
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
        return size(self.config, "num_hidden_layers")

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of this checkpoint's numbers should know of the model that gave them."""
        own = self._architecture.own_code
        return tuple(remark for remark in (self.changed, own) if remark)

    def load(self, weights: Weights) -> None:
        """Swap in another checkpoint's weights, or raise `CheckpointError` and hold none to be trusted."""
        self.changed = ""
        if weights.config is not None and _identity(weights) != self._essential:
            before = self._essential
            self._build(recognise(weights), weights)
            self.changed = _difference(before, self._essential)
        tensors = self._architecture.convert(weights.tensors) if self._architecture.convert else weights.tensors
        plan = self._plan(tensors)
        with torch.no_grad():
            for name, slot in plan.slots.items():
                self._fill(slot, name, tensors[name], weights.immutable)
            for slot, parts in plan.merged.items():
                for name, tensor in merge(self.module, plan, slot, parts, tensors).items():
                    self._fill(name, parts[0][0], tensor, weights.immutable)
        check_finite(Parameters(self.module, self._placement))

    def _fill(self, slot: str, name: str, tensor: Tensor, immutable: bool) -> None:
        target = self._slots[slot]
        if target.shape != tensor.shape:
            msg = f"tensor {name!r} has shape {list(tensor.shape)}; the model expects {list(target.shape)}"
            raise CheckpointError(msg)
        if slot in self._placement.places:
            self._placement.rest(slot, tensor)
        elif immutable and tensor.dtype == target.dtype and tensor.device == target.device:
            target.data = tensor  # mapped into memory, and nobody can change the file: no copy is needed
        else:
            target.copy_(tensor, non_blocking=True)

    def site(self, name: str) -> Any:
        """A weight site: `weights`, every parameter by name, or a matrix in TransformerLens orientation."""
        parameters = Parameters(self.module, self._placement)
        return parameters if name == "weights" else weight_site(self.config, name, parameters)

    def sizes(self) -> dict[str, Any]:
        """The sizes of the model under the field's names."""
        return sizes(self.config, sum(parameter.numel() for parameter in self.module.parameters()))

    def _build(self, architecture: Architecture, weights: Weights) -> None:
        self._architecture = architecture
        self._essential = _identity(weights)
        # Every parameter is filled from the file, or it is an error.
        module = build(architecture.config, architecture.model)
        if self.device_map is None:
            nn.Module.to(module, device=self.device, dtype=self.dtype)
            self._placement = Placement(self.device, self.dtype, {})
        else:
            self._placement = place(module, self.device, self.dtype, self.device_map)
        self.module: PreTrainedModel = module.eval().requires_grad_(False)
        # Tied parameters appear once by name in named_parameters, and under both names in the state dict.
        self._slots: dict[str, Tensor] = dict(self.module.state_dict(keep_vars=True))
        self._plans: dict[frozenset[str], Plan] = {}

    def _plan(self, tensors: Mapping[str, Tensor]) -> Plan:
        """Where each tensor of the file goes. Raises unless every parameter is filled and every tensor has a place."""
        key = frozenset(tensors)
        if key not in self._plans:
            self._plans[key] = match(self.module, self._slots, tensors)
        return self._plans[key]


def _identity(weights: Weights) -> dict[str, Any]:
    """What must be equal for a module to serve two checkpoints."""
    code = {} if weights.code is None else {"its own code": digest(weights.code)}
    return essential(weights.config or {}) | code


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
