"""A small transformer on the next token of a text; attention only by default (Hoogland et al. 2024), or a GPT-NeoX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel

from dynamics.architectures.small_transformer import SmallTransformer, SmallTransformerConfig
from dynamics.errors import UsageError
from dynamics.tasks import TaskSettings, documents
from dynamics.tasks.passages import repeat_passages
from dynamics.tasks.text import Settings
from dynamics.training.loop import Trainee, seeded

START = "<|start|>"


class Model(TaskSettings):
    """Sizes of the transformer and of its vocabulary, by default the paper's, and how many windows a step sees.
    With `shortformer`, positions are added to queries and keys only; the rotary settings are GPT-NeoX's.

    `repeated` of the windows trained on are a passage of `passage` tokens over and over: by default as many as the
    task measures on."""

    family: Literal["small_transformer", "gpt_neox"] = "small_transformer"
    n_layers: int = Field(default=2, ge=1)
    n_heads: int = Field(default=8, ge=1)
    d_model: int = Field(default=256, ge=1)
    d_mlp: int = Field(default=0, ge=0)
    activation: str = "gelu"
    n_ctx: int = Field(default=1024, ge=4)
    d_vocab: int = Field(default=5000, ge=257)
    shortformer: bool = True
    embedding_std: float | None = Field(default=None, gt=0)
    rotary_share: float = Field(default=0.25, gt=0, le=1)
    rotary_base: float = Field(default=10_000.0, gt=1)
    parallel: bool = True
    repeated: float | None = Field(default=None, ge=0, le=1)
    passage: tuple[int, int] | None = None
    batch_size: int = Field(default=100, ge=1)


def prepare(model: Model, task: Mapping[str, Any], seed: int) -> Trainee:
    """Windows of the same text that the task is measured on, from its training part where that is the held-out one.

    The tokenizer's byte pairs are learnt from the training part. The seed moves weights and batches.
    """
    settings = Settings(**task)
    part = "training" if settings.part == "held-out" else settings.part
    found, name = documents.read(settings.model_copy(update={"part": part}))
    if model.d_model % model.n_heads:
        msg = f"d_model = {model.d_model} is not a multiple of n_heads = {model.n_heads}; change one of them"
        raise UsageError(msg)
    tokenizer = learn_tokenizer(found, model.d_vocab)
    windows = Windows([encoding.ids for encoding in tokenizer.encode_batch(found)], model.n_ctx - 1, name)
    with seeded(seed):
        network = _gpt_neox(model) if model.family == "gpt_neox" else _small_transformer(model)
    repeated = settings.repeated if model.repeated is None else model.repeated
    passage = model.passage or settings.passage
    network.set_attn_implementation("sdpa")

    def loss(step: int) -> Tensor:
        random = np.random.default_rng(np.random.SeedSequence((seed, step)))
        tokens = windows.draw(model.batch_size, random)
        if repeated:
            tokens = repeat_passages(tokens, repeated, passage, random)
        logits = network(input_ids=tokens).logits
        return cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())

    return Trainee(network, loss, tokenizer)


def _small_transformer(model: Model) -> PreTrainedModel:
    return SmallTransformer(SmallTransformerConfig(
        d_vocab=model.d_vocab, n_ctx=model.n_ctx, n_layers=model.n_layers, n_heads=model.n_heads,
        d_model=model.d_model, d_head=model.d_model // model.n_heads, d_mlp=model.d_mlp,
        activation=model.activation, shortformer=model.shortformer, embedding_std=model.embedding_std,
        bos_token_id=0, eos_token_id=0,
    ))  # fmt: skip


def _gpt_neox(model: Model) -> PreTrainedModel:
    rotary = {"rope_type": "default", "rope_theta": model.rotary_base, "partial_rotary_factor": model.rotary_share}
    return GPTNeoXForCausalLM(GPTNeoXConfig(
        vocab_size=model.d_vocab, max_position_embeddings=model.n_ctx, num_hidden_layers=model.n_layers,
        num_attention_heads=model.n_heads, hidden_size=model.d_model,
        intermediate_size=model.d_mlp or 4 * model.d_model, hidden_act=model.activation, rope_parameters=rotary,
        use_parallel_residual=model.parallel, initializer_range=model.embedding_std or 0.02,
        bos_token_id=0, eos_token_id=0,
    ))  # fmt: skip


def learn_tokenizer(found: list[str], d_vocab: int) -> Tokenizer:
    """Byte pairs of the texts; token 0 starts a sequence."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(found, trainers.BpeTrainer(
        vocab_size=d_vocab, special_tokens=[START], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ))  # fmt: skip
    return tokenizer


class Windows:
    """All windows of so many tokens that lie within a document."""

    def __init__(self, found: list[list[int]], length: int, name: str) -> None:
        self.tokens, self.length = np.concatenate([np.asarray(ids, np.int64) for ids in found]), length
        ends = np.cumsum([len(ids) for ids in found])
        self.starts = np.concatenate(
            [np.arange(end - len(ids), end - length + 1) for ids, end in zip(found, ends, strict=True)]
        )
        if not len(self.starts):
            msg = f"no document of {name} has {length} tokens to train on; set a smaller 'n_ctx', or give longer text"
            raise UsageError(msg)

    def draw(self, n: int, random: np.random.Generator) -> Tensor:
        """Windows drawn evenly, each after a start token, [n 1+length]."""
        starts = random.choice(self.starts, n)[:, None]
        return torch.from_numpy(np.pad(self.tokens[starts + np.arange(self.length)], ((0, 0), (1, 0))))
