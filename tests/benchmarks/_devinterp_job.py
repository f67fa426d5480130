"""The local learning coefficient by devinterp, run by an interpreter that has it: no import of this project.

Reads a folder with `model/` and `tokens.pt`, and the settings as JSON; prints the value of each chain as JSON.
"""

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from devinterp.slt.llc import llc
from transformers import AutoModelForCausalLM


def main(place: str, settings: str) -> None:
    torch.set_num_threads(1)
    how, folder = json.loads(settings), Path(place)
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    tokens = torch.load(folder / "tokens.pt")
    dataset = Dataset.from_dict({"input_ids": tokens.tolist()}).with_format("torch")
    found = llc(
        model, dataset, {}, lr=how["step_size"], n_beta=how["n_beta"], localization=how["localization"],
        num_chains=how["chains"], num_draws=how["draws"], batch_size=how["batch_size"],
        num_init_loss_batches=len(tokens) // how["batch_size"], init_seed=how["seed"],
        match_sampling_input_ids_across_chains=False, device="cpu",
    )  # fmt: skip
    print(json.dumps(found["llc_per_chain"].values.tolist()))


main(*sys.argv[1:])
