"""What tests share: a tiny training history on disk, and where the reference data may be found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dynamics.architectures.small_transformer import SmallTransformer, SmallTransformerConfig
from dynamics.demo import WORDS, language, tokenizer
from dynamics.training import save
from hub_stand_in import hub  # noqa: F401  (a fixture)

ROOT = Path(__file__).resolve().parents[1]
REFERENCE_DATA = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def reference_data() -> Callable[[str], Path]:
    """The path of reference data by its name, or a skip where the data is not beside the repository."""

    def find(name: str) -> Path:
        path = REFERENCE_DATA / name
        if not path.exists():
            pytest.skip(f"needs the reference data {name!r} beside the repository")
        return path

    return find


def tiny_model(seed: int = 0, **changes: object) -> SmallTransformer:
    """A random two-layer transformer over the demo's words."""
    torch.manual_seed(seed)
    sizes = {"d_vocab": len(WORDS) + 1, "n_ctx": 64, "d_model": 16, "n_heads": 2, "d_head": 8, "n_layers": 2}
    return SmallTransformer(SmallTransformerConfig(**(sizes | {"bos_token_id": 0} | changes))).eval()


@pytest.fixture
def tiny_series(tmp_path: Path) -> Path:
    """A folder of four checkpoints, each of other random weights: step0, step10, step100, step1000."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for seed, step in enumerate((0, 10, 100, 1000)):
        save(tiny_model(seed), folder / f"step{step}", tokenizer())
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Sixteen lines in the demo's words."""
    path = tmp_path / "text.txt"
    lines = language(seed=3)
    path.write_text("\n".join(" ".join(WORDS[n - 1] for n in next(lines)) for _ in range(16)), "utf-8")
    return path
