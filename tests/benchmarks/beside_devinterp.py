"""Beside devinterp: the local learning coefficient of one small trained model, by its `llc()` and by ours.

Both take the same weights, windows and settings; noise and mini-batches are each one's own, so that they agree within
the standard errors over chains. devinterp is no dependency: DYNAMICS_DEVINTERP names a python that has it; without one
the benchmark says that it was left out. Run: DYNAMICS_DEVINTERP=/path/to/python python -m tests.benchmarks
beside_devinterp
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from dynamics.sites.langevin import Sampling, around
from metrics.learning_coefficient import local_learning_coefficient
from tests.benchmarks._series import line

PYTHON = os.environ.get("DYNAMICS_DEVINTERP", "")
D_VOCAB, LENGTH, WINDOWS, STEPS = 32, 33, 256, 300
# The defaults of the task, and a pull that lets the loss rise by more.
SETTINGS = {
    "defaults": Sampling(30.0, 300.0, 1e-4, chains=8, draws=200, batch_size=16, seed=0),
    "loose": Sampling(100.0, 30.0, 1e-4, chains=8, draws=200, batch_size=16, seed=0),
}


def main() -> Iterator[str]:
    """Both values for each choice of settings, and how many standard errors lie between them."""
    if not PYTHON:
        yield "devinterp: left out; set DYNAMICS_DEVINTERP to a python that has devinterp"
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder, tokens = Path(place), _tokens()
        model = _trained(tokens)
        model.save_pretrained(folder / "model")
        torch.save(tokens, folder / "tokens.pt")
        for name, how in SETTINGS.items():
            read = around(model, tokens, how)
            ours = local_learning_coefficient(read["langevin_losses"], read["langevin_start"], how.n_beta, 0)
            theirs = torch.tensor(_theirs(folder, how), dtype=torch.float64)
            errors = [float(chains.std() / len(chains) ** 0.5) for chains in (ours, theirs)]
            apart = abs(float(ours.mean() - theirs.mean())) / (errors[0] ** 2 + errors[1] ** 2) ** 0.5
            yield line(f"local learning coefficient, {name}: standard errors between devinterp's and ours", apart, 3.0)
            yield f"        ours {float(ours.mean()):.3f} +- {errors[0]:.3f}, devinterp's llc() " \
                  f"{float(theirs.mean()):.3f} +- {errors[1]:.3f}; {how.chains} chains of {how.draws}"  # fmt: skip


def _theirs(folder: Path, how: Sampling) -> list[float]:
    command = [PYTHON, str(Path(__file__).with_name("_devinterp_job.py")), str(folder), json.dumps(asdict(how))]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(ran.stdout.splitlines()[-1])


def _tokens() -> Tensor:
    """Windows of a chain in which each token is mostly followed by one of a few."""
    random = torch.Generator().manual_seed(0)
    chances = torch.softmax(3 * torch.randn(D_VOCAB, D_VOCAB, generator=random), -1)
    tokens = torch.zeros(WINDOWS, LENGTH, dtype=torch.long)
    for place in range(1, LENGTH):
        tokens[:, place] = torch.multinomial(chances[tokens[:, place - 1]], 1, generator=random).squeeze(1)
    return tokens


def _trained(tokens: Tensor) -> GPTNeoXForCausalLM:
    """A model near a minimum of its loss on these windows."""
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=D_VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=64,
    )  # fmt: skip
    model = GPTNeoXForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(STEPS):
        batch = tokens[torch.arange(step * 32, step * 32 + 32) % WINDOWS]
        loss = torch.nn.functional.cross_entropy(model(batch).logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
