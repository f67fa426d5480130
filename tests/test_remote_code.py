"""Code that a repo brings along: never run unasked, pinned to the commit of the weights, and written down."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

import dynamics
from dynamics.checkpoint import hash_file
from dynamics.errors import CheckpointError, UsageError
from dynamics.loading.remote_code import digest, names
from dynamics.sources import catalogue
from dynamics.tasks import Subject, build_task
from hub_stand_in import StandIn

REPO = "acme/own"
METRICS = ["first_occurrence_loss"]
FEW = dynamics.Settings({"repeated_tokens": {"n_examples": 2}})
SETTINGS = {"model_type": "own_model", "n_layers": 1, "d_model": 8, "vocab_size": 61, "n_heads": 1,
            "max_seq_len": 64,
            "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "acme/x--own.OwnModel"}}  # fmt: skip
CODE = '''
import os
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput
from .scale import SCALE

with open(os.environ["OWN_CODE_RAN"], "a") as file:
    file.write("ran\\n")


class OwnConfig(PretrainedConfig):
    model_type = "own_model"


class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList([nn.Linear(config.d_model, config.d_model, bias=False)])
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids, **_):
        return CausalLMOutput(logits=self.head(SCALE * self.layers[0](self.embed(input_ids))))

    def get_input_embeddings(self):
        return self.embed

    def get_output_embeddings(self):
        return self.head
'''


def tensors_of(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"embed.weight": (61, 8), "layers.0.weight": (8, 8), "head.weight": (61, 8)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def files_of(seed: int, scale: float = 1.0) -> dict[str, bytes]:
    return {
        "model.safetensors": save(tensors_of(seed), {"format": "pt"}), "config.json": json.dumps(SETTINGS).encode(),
        "own.py": CODE.encode(), "scale.py": f"SCALE = {scale}\n".encode(),
    }  # fmt: skip


def loss_of(seed: int, tokens: torch.Tensor) -> float:
    """The loss by hand."""
    weights = tensors_of(seed)
    logits = weights["embed.weight"][tokens] @ weights["layers.0.weight"].T @ weights["head.weight"].T
    return float(torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()))


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the stranger's code writes to when it runs."""
    path = tmp_path / "ran.txt"
    monkeypatch.setenv("OWN_CODE_RAN", str(path))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])  # which transformers adds that folder to
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        monkeypatch.delitem(sys.modules, name)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in (0, 10):
        place = tmp_path / "own" / f"step{step}"
        place.mkdir(parents=True)
        for name, content in files_of(step).items():
            (place / name).write_bytes(content)
    return tmp_path / "own"


def test_it_is_not_run_unasked(folder: Path, ran: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="own.OwnModel.* was not run: .*--trust-remote-code"):
        dynamics.measure(dynamics.open_series(f"folder:{folder}"), METRICS, out=tmp_path / "out", settings=FEW)
    assert not ran.exists()


def test_where_it_is_allowed_the_numbers_say_so(folder: Path, ran: Path, tmp_path: Path) -> None:
    series = dynamics.open_series(f"folder:{folder}", trust_remote_code=True)
    run = dynamics.measure(series, METRICS, out=tmp_path / "out", settings=FEW)
    subject = Subject(d_vocab=61, n_ctx=64, bos=None, tokenizer=None)
    fields = build_task("repeated_tokens", FEW.tasks["repeated_tokens"], subject).fields
    blocks = [row[: period + 1] for row, period in zip(fields["tokens"], fields["period"].tolist(), strict=True)]
    expected = [sum(loss_of(step, block[None]) for block in blocks) / 2 for step in (0, 10)]
    assert run.measurements()["value"].to_list() == pytest.approx(expected, rel=1e-5)
    assert ran.read_text().count("ran") == 1
    note = f"computed by the checkpoint's own code: own.OwnModel, SHA-256 of its files {digest(folder / 'step0')}"
    assert run.checkpoints()["note"].to_list() == [note, note]


def test_the_code_is_that_of_the_commit(hub: StandIn, ran: Path, tmp_path: Path) -> None:
    repo = hub.repo(REPO)
    for step, scale in ((0, 1.0), (10, 1.0), (20, 0.5)):
        repo.commit(files_of(step, scale), branch=f"step{step}")
    with pytest.raises(CheckpointError, match="--trust-remote-code"):
        dynamics.measure(dynamics.open_series(f"hub:{REPO}"), METRICS, out=tmp_path / "no", settings=FEW)
    assert not hub.requests("GET", ".py")
    series = dynamics.open_series(f"hub:{REPO}", trust_remote_code=True)
    run = dynamics.measure(series, METRICS, out=tmp_path / "out", settings=FEW)
    assert run.failed().is_empty()
    notes = run.checkpoints()["note"].to_list()
    assert "its own code" not in notes[1]
    assert "the model was built anew: its own code" in notes[2]
    code = tmp_path / "cache" / "models--acme--own" / "snapshots" / repo.branches["step20"]
    assert digest(code) in notes[2]
    assert hash_file(code / "scale.py") != hash_file(code.parent / repo.branches["step0"] / "scale.py")


def test_code_of_another_repo_is_not_run(folder: Path, ran: Path, tmp_path: Path) -> None:
    (folder / "step10" / "own.py").unlink()
    series = dynamics.open_series(f"folder:{folder}", trust_remote_code=True)
    run = dynamics.measure(series, METRICS, out=tmp_path / "out", settings=FEW)
    assert run.failed()["step"].to_list() == [10]
    assert "own.py is not beside it; code from another repo is not run" in run.failed()["note"][0]


def test_code_that_fails_is_that_checkpoints_failure(folder: Path, ran: Path, tmp_path: Path) -> None:
    (folder / "step10" / "scale.py").write_text("raise RuntimeError('out of order')")
    series = dynamics.open_series(f"folder:{folder}", trust_remote_code=True)
    run = dynamics.measure(series, METRICS, out=tmp_path / "out", settings=FEW)
    assert run.measurements()["step"].to_list() == [0]
    assert "RuntimeError: out of order" in run.failed()["note"][0]


@pytest.mark.parametrize("name", [entry.name for entry in catalogue.entries().values() if entry.remote_code])
def test_public_series_that_need_it_name_the_flag(name: str) -> None:
    with pytest.raises(UsageError, match="--trust-remote-code"):
        dynamics.open_series(name)


def test_a_map_without_a_model_is_refused(folder: Path, ran: Path) -> None:
    from dynamics.loading.remote_code import load

    assert names({"auto_map": {"AutoModel": ["a.B", None]}}) == {"AutoModel": "a.B"}
    with pytest.raises(CheckpointError, match="names no model, but AutoConfig"):
        load({"auto_map": {"AutoConfig": "own.OwnConfig"}}, folder / "step0")


def test_other_file_systems_are_not_a_place_to_run_code_from() -> None:
    with pytest.raises(UsageError, match="code is not run from 'memory://own'"):
        dynamics.open_series("folder:memory://own", trust_remote_code=True)
