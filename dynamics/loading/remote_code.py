"""Code that a checkpoint brings along, run only where a person has allowed it.

A configuration names classes of its own under `auto_map`. They are taken from the Python files beside it, which belong
to the same commit as the weights, and never from another repo, which nothing would pin.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamics.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

ALLOW = "read that code, then allow it with --trust-remote-code, in a recipe with trust_remote_code = true"
_MODELS = ("AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModel")


def names(config: Mapping[str, Any]) -> dict[str, str]:
    """The classes that a configuration names, as file.Class, by what they are for."""
    named = config.get("auto_map")
    found = named.items() if isinstance(named, Mapping) else ()
    return {str(role): str(name[0] if isinstance(name, list) else name).split("--")[-1] for role, name in found}


def digest(folder: Path) -> str:
    """The SHA-256 of the Python files in a folder, with their names."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def describe(config: Mapping[str, Any], folder: Path) -> str:
    """What is written beside the numbers that such code computed."""
    return f"computed by the checkpoint's own code: {_model(config)}, SHA-256 of its files {digest(folder)}"


def load(config: Mapping[str, Any], folder: Path) -> tuple[PretrainedConfig, type[PreTrainedModel]]:
    """Run the code in the folder: the configuration as an object of its own class, and the class of the model."""
    from transformers import AutoConfig

    named, settings = names(config), dict(config)
    try:
        if "AutoConfig" in named:
            made = _run(named["AutoConfig"], folder).from_dict(settings)
        else:
            made = AutoConfig.for_model(settings.pop("model_type", ""), **settings)
        return made, _run(_model(config), folder)
    except CheckpointError:
        raise
    except Exception as error:  # whatever a stranger's code raises
        msg = f"the checkpoint's own code in {folder} failed: {type(error).__name__}: {error}"
        raise CheckpointError(msg) from error


def _model(config: Mapping[str, Any]) -> str:
    named = names(config)
    found = next((named[role] for role in _MODELS if role in named), None)
    if found is None:
        msg = f"auto_map names no model, but {', '.join(named) or 'nothing'}; expected one of {', '.join(_MODELS)}"
        raise CheckpointError(msg)
    return found


def _run(name: str, folder: Path) -> Any:
    file = f"{name.rpartition('.')[0]}.py"
    if not re.fullmatch(r"[\w-]+\.\w+", name) or not (folder / file).is_file():
        msg = f"the configuration names {name!r}, and {file} is not beside it; code from another repo is not run"
        raise CheckpointError(msg)
    from transformers.dynamic_module_utils import get_class_from_dynamic_module  # nobody else needs transformers here

    return get_class_from_dynamic_module(name, str(folder), local_files_only=True)
