"""BERT, as a masked language model: MultiBERTs. Its other heads are not measured."""

import torch
from transformers import AutoModelForMaskedLM

from dynamics.architectures import numbered

FAMILY = "bert"
AUTO = AutoModelForMaskedLM
SUPERFLUOUS = ("cls.seq_relationship.", "bert.pooler.", "bert.embeddings.position_ids")

SITES = {
    "W_E": lambda p: p["bert.embeddings.word_embeddings.weight"],
    "W_U": lambda p: p.get("cls.predictions.decoder.weight", p["bert.embeddings.word_embeddings.weight"]).T,
    "W_out": lambda p: torch.stack([w.T for w in numbered(p, "bert.encoder.layer.{}.output.dense.weight")]),
}
