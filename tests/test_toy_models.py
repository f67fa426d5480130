"""The published toy models in TransformerLens' format, against a forward pass written from its definitions alone."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import torch
from torch import Tensor

import dynamics
from dynamics.architectures import names_solu_old
from dynamics.checkpoint import Weights
from dynamics.errors import CheckpointError
from dynamics.model import SeriesModel
from dynamics.prefetch import open_checkpoint
from hub_stand_in import StandIn

SIZES = {"n_layers": 2, "d_model": 16, "d_head": 4, "n_heads": 4, "n_ctx": 32, "d_vocab": 23, "d_mlp": 24}
STEP = 262144


def state(settings: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """A random state dict with the names and shapes that TransformerLens saves."""
    torch.manual_seed(seed)
    d, heads, head, mlp = (settings[key] for key in ("d_model", "n_heads", "d_head", "d_mlp"))
    with_norms = settings.get("normalization", settings.get("normalization_type")) == "LN"
    shapes = {"embed.W_E": (settings["d_vocab"], d), "pos_embed.W_pos": (settings["n_ctx"], d),
              "unembed.W_U": (d, settings["d_vocab"]), "unembed.b_U": (settings["d_vocab"],)}  # fmt: skip
    norms = {"ln_final": d}
    for layer in range(settings["n_layers"]):
        block = f"blocks.{layer}"
        norms |= {f"{block}.ln1": d}
        shapes |= {f"{block}.attn.W_{name}": (heads, d, head) for name in "QKV"}
        shapes |= {f"{block}.attn.b_{name}": (heads, head) for name in "QKV"}
        shapes |= {f"{block}.attn.W_O": (heads, head, d), f"{block}.attn.b_O": (d,)}
        if not settings["attn_only"]:
            norms |= {f"{block}.ln2": d}
            shapes |= {f"{block}.mlp.W_in": (d, mlp), f"{block}.mlp.b_in": (mlp,)}
            shapes |= {f"{block}.mlp.W_out": (mlp, d), f"{block}.mlp.b_out": (d,)}
    made = {name: torch.randn(shape) * 0.4 for name, shape in shapes.items()}
    if settings["act_fn"] == "solu_ln" and settings.get("neurons_with_norm", True):
        norms = norms if with_norms else {}
        norms |= {f"blocks.{layer}.mlp.ln": mlp for layer in range(settings["n_layers"])}
        with_norms = True
    for name, width in norms.items() if with_norms else ():
        made |= {f"{name}.w": 1 + 0.3 * torch.randn(width), f"{name}.b": 0.3 * torch.randn(width)}
    made["blocks.0.attn.mask"], made["blocks.0.attn.IGNORE"] = torch.ones(32, 32).tril().bool(), torch.tensor(-1e5)
    return made


def forward(p: dict[str, Tensor], settings: dict[str, Any], tokens: Tensor) -> Tensor:
    """HookedTransformer, one example and head at a time, in float64."""
    p = {name: tensor.double() for name, tensor in p.items()}
    norm_kind = settings.get("normalization", settings.get("normalization_type"))

    def norm(x: Tensor, name: str, *, rms: bool = False, always: bool = False) -> Tensor:
        if norm_kind is None and not always:
            return x
        x = x if rms else x - x.mean(-1, keepdim=True)
        x = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        x = x * p[f"{name}.w"] if f"{name}.w" in p else x
        return x + p[f"{name}.b"] if f"{name}.b" in p and not rms else x

    activation = {
        "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)), "solu": lambda x: x * x.exp() / x.exp().sum(-1, True),
    }.get(settings["act_fn"].removesuffix("_ln"))  # fmt: skip
    rows = []
    for row in tokens:
        positions = p["pos_embed.W_pos"][: len(row)]
        x = p["embed.W_E"][row] + (0 if settings.get("shortformer_pos") else positions)
        for layer in range(settings["n_layers"]):
            block = f"blocks.{layer}"
            read = norm(x, f"{block}.ln1")
            scored = read + positions if settings.get("shortformer_pos") else read
            out = p[f"{block}.attn.b_O"].clone().expand_as(x).clone()
            for head in range(settings["n_heads"]):
                q, k, v = (
                    source @ p[f"{block}.attn.W_{name}"][head] + p[f"{block}.attn.b_{name}"][head]
                    for name, source in (("Q", scored), ("K", scored), ("V", read))
                )
                scores = q @ k.T / settings["d_head"] ** 0.5
                scores[torch.ones_like(scores).triu(1).bool()] = float("-inf")
                out += scores.softmax(-1) @ v @ p[f"{block}.attn.W_O"][head]
            x = x + out
            if not settings["attn_only"]:
                read = norm(x, f"{block}.ln2")
                assert activation is not None
                neurons = activation(read @ p[f"{block}.mlp.W_in"] + p[f"{block}.mlp.b_in"])
                if settings["act_fn"] == "solu_ln":
                    neurons = norm(neurons, f"{block}.mlp.ln", always=True)
                x = x + neurons @ p[f"{block}.mlp.W_out"] + p[f"{block}.mlp.b_out"]
        x = norm(x, "ln_final", rms=settings.get("final_rms", False))
        rows.append(x @ p["unembed.W_U"] + p["unembed.b_U"])
    return torch.stack(rows)


def published(tensors: dict[str, Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


VARIANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "attention only, LN": ("toy-Attn_Only-2L512W", "Attn_Only_2L512W_C4_Code",
                           {"attn_only": True, "act_fn": "attn_only_model", "normalization": "LN"}),
    "attention only, folded": ("toy-Attn_Only-2L512W", "Attn_Only_2L512W_C4_Code",
                               {"attn_only": True, "act_fn": "attn_only", "normalization_type": "LNPre"}),
    "attention only, shortformer": ("toy-Attn_Only-2L512W", "Attn_Only_2L512W_C4_Code",
                                    {"attn_only": True, "act_fn": "attn_only", "normalization": "LN",
                                     "shortformer_pos": True}),
    "GELU": ("toy-GELU-2L512W", "GELU_2L512W_C4_Code",
             {"attn_only": False, "act_fn": "gelu", "normalization": "LN"}),
    "SoLU": ("toy-SoLU-2L512W", "SoLU_2L512W_C4_Code",
             {"attn_only": False, "act_fn": "solu", "normalization": "LN"}),
    "SoLU with LayerNorm": ("toy-SoLU-2L512W", "SoLU_2L512W_C4_Code",
                            {"attn_only": False, "act_fn": "solu_ln", "normalization": "LN"}),
    "SoLU with LayerNorm, folded": ("toy-SoLU-2L512W", "SoLU_2L512W_C4_Code",
                                    {"attn_only": False, "act_fn": "solu_ln", "normalization_type": "LNPre",
                                     "final_rms": True}),
    "SoLU with LayerNorm, all folded": ("toy-SoLU-2L512W", "SoLU_2L512W_C4_Code",
                                        {"attn_only": False, "act_fn": "solu_ln", "normalization_type": "LNPre",
                                         "neurons_with_norm": False}),
    "no norm": ("toy-SoLU-2L512W", "SoLU_2L512W_C4_Code",
                {"attn_only": False, "act_fn": "solu", "normalization": None}),
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_are_those_of_the_definition(hub: StandIn, variant: str) -> None:
    name, repo, said = VARIANTS[variant]
    settings = SIZES | said
    tensors = state(settings)
    hub.repo(f"NeelNanda/{repo}").commit(
        {f"checkpoints/tokens_{STEP:012d}.pth": published(tensors), "model_final.pth": b"another",
         "config.json": json.dumps(settings).encode()}, branch="main",
    )  # fmt: skip
    series = dynamics.open_series(name)
    assert [(c.step, c.tokens_seen) for c in series.checkpoints] == [(STEP, STEP)]
    model = SeriesModel(open_checkpoint(series, series.checkpoints[0]).weights)
    tokens = torch.randint(0, 23, (3, 20), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours = model.module(input_ids=tokens).logits
    theirs = forward(tensors, settings, tokens)
    assert theirs.std() > 0.3
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max().clamp(min=1)


@pytest.mark.parametrize("n_layers", [2, 8])
def test_the_first_solu_models_lie_the_other_way_round(n_layers: int) -> None:
    settings = SIZES | {"n_layers": n_layers, "attn_only": False, "act_fn": "solu_ln", "normalization": "LN"}
    tensors = state(settings)
    old = {}
    for name, tensor in tensors.items():
        turned = ".W_" in name and (n_layers <= 6 or name == "pos_embed.W_pos")
        old[name.replace("ln_final", "norm").replace("ln", "norm")] = tensor.mT if turned else tensor
    assert names_solu_old.matches(old)
    assert not names_solu_old.matches(tensors)
    tokens = torch.arange(20)[None]
    with torch.inference_mode():
        model = SeriesModel(Weights.of(old, "0", 0, settings=settings))
        ours = model.module(input_ids=tokens).logits
    assert (ours - (theirs := forward(tensors, settings, tokens))).abs().max() < 1e-5 * theirs.abs().max()


def test_a_norm_or_an_activation_that_is_not_known_is_refused() -> None:
    settings = SIZES | {"attn_only": False, "act_fn": "solu", "normalization": "LN"}
    for wrong in ({"normalization": "RMS"}, {"act_fn": "swiglu"}):
        with pytest.raises(CheckpointError, match="is not known; expected"):
            SeriesModel(Weights.of(state(settings), "0", 0, settings=settings | wrong))
