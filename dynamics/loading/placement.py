"""Layers that wait elsewhere until their turn comes, for models that outgrow the device they are computed on.

All is computed on one device, where the embedding, the final norm and the head stay. Each layer rests in memory
("cpu"), on another device, or in the checkpoint's own mapped file ("disk"), and is brought over for as long as it
computes: by accelerate's hooks, which read from the map that is swapped with the checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dynamics.architectures import size
from dynamics.errors import UsageError

DeviceMap = str | Mapping[str, Any]

AUTO, DISK = "auto", "disk"
# What "auto" leaves free on each device, for activations and logits and for the layer that is visiting.
SPARE = 0.2


def read_device_map(given: DeviceMap) -> DeviceMap:
    """The map of the command line: auto, disk, a device, or JSON from the names of layers to places.

    >>> read_device_map('{"gpt_neox.layers.3": "disk"}')
    {'gpt_neox.layers.3': 'disk'}
    """
    if not isinstance(given, str) or not given.lstrip().startswith("{"):
        return given
    try:
        return json.loads(given)
    except ValueError as error:
        msg = f'cannot read device map {given!r}: {error}; expected JSON such as {{"gpt_neox.layers.3": "disk"}}'
        raise UsageError(msg) from error


@dataclass(frozen=True)
class Placement:
    """Where the parameters rest that are not on the device: `places` by name, and `resting`, the tensors themselves."""

    device: torch.device
    dtype: torch.dtype
    places: Mapping[str, str]
    resting: dict[str, Tensor] = field(default_factory=dict)

    def rest(self, name: str, tensor: Tensor) -> None:
        """Put a tensor where it rests, in the precision that it came in; on disk it stays in its mapped file."""
        place = self.places[name]
        if place == DISK:
            self.resting[name] = tensor
            return
        held = self.resting.get(name)
        if held is None or held.dtype != tensor.dtype:
            pinned = place == "cpu" and self.device.type == "cuda"  # moves without waiting
            held = self.resting[name] = torch.empty_like(tensor, device=place, pin_memory=pinned)
        held.copy_(tensor)

    def brought(self, name: str) -> Tensor:
        """A resting parameter as it is computed with: moved first, since half precision is less to move."""
        return self.resting[name].to(self.device, non_blocking=True).to(self.dtype)


class _Arrivals(Mapping[str, Tensor]):
    """What accelerate's hook of one layer reads: the layer's parameters, brought when they are asked for."""

    def __init__(self, placement: Placement, prefix: str) -> None:
        self.placement, self.prefix = placement, prefix

    def __getitem__(self, name: str) -> Tensor:
        return self.placement.brought(self.prefix + name)

    def __iter__(self) -> Iterator[str]:
        return (n.removeprefix(self.prefix) for n in self.placement.places if n.startswith(self.prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Parameters(Mapping[str, Tensor]):
    """All parameters of a module by name, those that rest elsewhere brought one at a time."""

    def __init__(self, module: nn.Module, placement: Placement) -> None:
        self.held, self.placement = dict(module.named_parameters()), placement

    def __getitem__(self, name: str) -> Tensor:
        if name in self.placement.places:
            return self.placement.brought(name)
        return self.held[name].detach()

    def __iter__(self) -> Iterator[str]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)


def check_device(name: str) -> str:
    """The name of a device, once something has been put there. Raises `UsageError` where there is no such device."""
    try:
        torch.zeros(1, device=name).item()
        return str(torch.device(name))
    except (RuntimeError, TypeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        msg = f"{name!r} is no device of this machine ({reason}); expected cpu, or cuda or mps where there is one"
        raise UsageError(msg) from error


def place(module: PreTrainedModel, device: torch.device, dtype: torch.dtype, device_map: DeviceMap) -> Placement:
    """Move a module to its device but for the layers that the map sends elsewhere, and hook these."""
    hooks, memory = _accelerate()
    device_map, layers = read_device_map(device_map), _layers(module)
    wanted = _fit(module, layers, dtype, device, memory()) if device_map == AUTO else _read(device_map, module, layers)
    resting = {name: where for name, where in wanted.items() if not _is_at(device, where)}
    _refuse_others(resting, layers, device)
    places = {f"{name}.{key}": where for name, where in resting.items() for key, _ in layers[name].named_parameters()}
    placement = Placement(device, dtype, places)
    for name in resting:
        arrivals = _Arrivals(placement, f"{name}.")
        hook = hooks.AlignDevicesHook(device, offload=True, weights_map=arrivals, place_submodules=True)
        hooks.add_hook_to_module(layers[name], hook)
    nn.Module.to(module, dtype=dtype)  # now that most of it takes no memory
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if name not in places:
            tensor.data = tensor.data.to(device)
    return placement


def _accelerate() -> tuple[Any, Any]:
    try:
        from accelerate import hooks
        from accelerate.utils import get_max_memory
    except ImportError as error:
        msg = "a device map needs the package accelerate; install it with pip install 'training-dynamics[device-map]'"
        raise UsageError(msg) from error
    return hooks, get_max_memory


def _layers(module: PreTrainedModel) -> dict[str, nn.Module]:
    """The layers of a model by name: the outermost list that has as many entries as the configuration says."""
    for name, part in module.named_modules():
        if isinstance(part, nn.ModuleList) and len(part) == size(module.config, "num_hidden_layers"):
            return {f"{name}.{i}": layer for i, layer in enumerate(part)}
    msg = f"model family {module.config.model_type!r} has no list of layers to place; leave the device map out"
    raise UsageError(msg)


def _read(device_map: DeviceMap, module: PreTrainedModel, layers: Mapping[str, nn.Module]) -> dict[str, str]:
    """Where each part that is named rests: a layer, or with the name of their list all of them."""
    if isinstance(device_map, str):
        device_map = dict.fromkeys(layers, device_map)
    found: dict[str, str] = {}
    parts = dict(module.named_modules())
    for name, where in device_map.items():
        if name not in parts:
            msg = f"device map: the model has no part {name!r}; its layers are {_span(layers)}"
            raise UsageError(msg)
        found |= dict.fromkeys([layer for layer in layers if layer.startswith(f"{name}.")] or [name], _place(where))
    return found


def _refuse_others(resting: Mapping[str, str], layers: Mapping[str, nn.Module], device: torch.device) -> None:
    for name, where in resting.items():
        if name not in layers:
            msg = f"device map: {name!r} cannot rest at {where!r}: only whole layers can, {_span(layers)}; all else " \
                  f"stays on {device}"  # fmt: skip
            raise UsageError(msg)


def _place(where: Any) -> str:
    """A place under its name, once it is known to be there."""
    if where == DISK:
        return DISK
    try:
        return check_device(where)
    except UsageError as error:
        msg = f"device map: {error}, auto or disk"
        raise UsageError(msg) from error


def _is_at(device: torch.device, where: str) -> bool:
    other = torch.device("meta" if where == DISK else where)
    return (other.type, other.index or 0) == (device.type, device.index or 0)


def _span(layers: Mapping[str, nn.Module]) -> str:
    names = list(layers)
    return f"{names[0]} to {names[-1]}" if len(names) > 1 else names[0]


def _fit(
    module: PreTrainedModel, layers: Mapping[str, nn.Module], dtype: torch.dtype, device: torch.device,
    memory: Mapping[Any, int],
) -> dict[str, str]:  # fmt: skip
    """As many layers as fit on the device, in order; then as many as fit in memory; the rest on disk."""
    sizes = {name: _size(layer, dtype) for name, layer in layers.items()}
    here = memory["cpu" if device.type == "cpu" else device.index or 0]
    others = _size(module, dtype) - sum(sizes.values())
    room = {str(device): here * (1 - SPARE) - others - max(sizes.values())}  # one layer visits at a time
    if device.type != "cpu":
        room["cpu"] = memory["cpu"] * (1 - SPARE)
    found = {}
    for name, needed in sizes.items():
        found[name] = next((where for where, left in room.items() if left >= needed), DISK)
        if found[name] != DISK:
            room[found[name]] -= needed
    return found


def _size(module: nn.Module, dtype: torch.dtype) -> int:
    return sum(parameter.numel() * dtype.itemsize for parameter in module.parameters())
