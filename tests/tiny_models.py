"""Tiny random models of several families, seeded, made where a test needs them; nothing is downloaded."""

from __future__ import annotations

from functools import cache

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
)

D_VOCAB, N_CTX = 61, 64
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": D_VOCAB,
    "max_position_embeddings": N_CTX, "intermediate_size": 64, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
GROUPED = SIZES | {"num_key_value_heads": 2, "pad_token_id": 0}

# Wide initial weights, so that patterns are far from uniform and an error would show.
CONFIGS: dict[str, PretrainedConfig] = {
    "gpt_neox": GPTNeoXConfig(**SIZES, initializer_range=0.3),
    "llama": LlamaConfig(**GROUPED, initializer_range=0.3),
    "gpt2": GPT2Config(
        n_embd=32, n_layer=2, n_head=4, vocab_size=D_VOCAB, n_positions=N_CTX, initializer_range=0.3,
        bos_token_id=0, eos_token_id=0,
    ),
    "mistral": MistralConfig(**GROUPED, sliding_window=5, initializer_range=0.3),
    "gemma2": Gemma2Config(
        **GROUPED, head_dim=8, sliding_window=5, attn_logit_softcapping=5.0, final_logit_softcapping=3.0,
        initializer_range=0.3,
    ),
    "gpt_oss": GptOssConfig(
        **GROUPED, head_dim=8, sliding_window=5, num_local_experts=2, num_experts_per_tok=1, initializer_range=0.3,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    ),
}  # fmt: skip


@cache
def tiny_model(family: str) -> PreTrainedModel:
    """One model per family and test run; tests leave it as they find it.

    The first to ask may be in inference mode, whose tensors could not be differentiated by any later test.
    """
    with torch.random.fork_rng(), torch.inference_mode(mode=False):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIGS[family], attn_implementation="eager")
    return model.eval().requires_grad_(False)


def random_tokens(batch: int, length: int, *, seed: int = 0) -> torch.Tensor:
    """[batch length] tokens of the tiny models' vocabulary."""
    return torch.randint(0, D_VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def eager_outputs(model: PreTrainedModel, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """transformers' own eager answers: logits [batch pos d_vocab], patterns [layer batch head query_pos key_pos]."""
    before = model.config._attn_implementation
    # Not by `set_attn_implementation`: Falcon and others stay with what they have, and then hand out unmasked patterns.
    model.config._attn_implementation_internal = "eager"
    try:
        output = model(input_ids=tokens, output_attentions=True, use_cache=False)
    finally:
        model.config._attn_implementation_internal = before
    return output.logits, torch.stack([pattern[..., : tokens.shape[1]] for pattern in output.attentions])
