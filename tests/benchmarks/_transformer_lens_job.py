"""The same metrics with TransformerLens, run by an interpreter that has it: no import of this project.

Reads a folder with `series/` and `tokens.pt` (the text's windows, the repeated sequences, their periods); prints
processor seconds, peak megabytes and a few means as JSON. `full` asks for the loss at every position, else the loss is
read at the two positions of the in-context score.
"""

import gc
import json
import resource
import sys
import time
from pathlib import Path

import torch
from transformer_lens.model_bridge import TransformerBridge

TOKENS_PER_BATCH = 4096
EARLY, LATE = 50, 500


def patterns_of(cache: dict) -> torch.Tensor:
    return torch.stack([cache[name] for name in sorted(cache, key=lambda name: int(name.split(".")[1]))])


def keys_to_look_at(tokens: torch.Tensor, period: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks [batch q k] of the induction targets and of the earlier copies."""
    place = torch.arange(tokens.shape[1])
    back = place[:, None] - place[None, :]
    blocks = period[:, None, None]
    inside = place[None, :, None] >= 1
    targets = ((back[None] + 1) % blocks == 0) & (back[None] > 0) & inside & (back[None] + 1 >= blocks)
    copies = (back[None] % blocks == 0) & (back[None] > 0) & (place[None, None, :] >= 1)
    return targets.float(), copies.float()


def repeated(model: TransformerBridge, tokens: torch.Tensor, period: torch.Tensor) -> dict[str, torch.Tensor]:
    _, cache = model.run_with_cache(tokens, names_filter=lambda n: n.endswith("hook_pattern"), return_type=None,
                                    return_cache_object=False)  # fmt: skip
    pattern = patterns_of(cache)
    targets, copies = keys_to_look_at(tokens, period)
    has = targets.sum(-1) > 0
    on_targets = torch.einsum("lbhqk,bqk->lbhq", pattern, targets)
    prefix = (on_targets * has[None, :, None]).sum(-1) / has.sum(-1)[None, :, None]
    stripe = torch.stack([
        torch.stack([pattern[:, b, :, :, :].diagonal(1 - int(p), dim1=2, dim2=3)[..., : int(p) + 1].mean(-1)])
        for b, p in enumerate(period)
    ])
    return {"prefix_matching": prefix.mean(1), "entry_mean": on_targets.sum((1, 3)) / targets.sum(),
            "induction_score": stripe.mean((0, 1)),
            "duplicate": torch.einsum("lbhqk,bqk->lh", pattern, copies)}  # fmt: skip


def text(model: TransformerBridge, tokens: torch.Tensor, full: bool) -> dict[str, torch.Tensor]:
    logits, cache = model.run_with_cache(tokens, names_filter=lambda n: n.endswith("hook_pattern"),
                                         return_cache_object=False)  # fmt: skip
    pattern = patterns_of(cache)
    at = torch.arange(1, tokens.shape[1]) if full else torch.tensor([EARLY, LATE])
    losses = torch.nn.functional.cross_entropy(
        logits[:, at - 1].flatten(0, 1), tokens[:, at].flatten(), reduction="none"
    )
    losses = losses.view(len(tokens), len(at))
    first = pattern[..., 1:, 0]
    return {"previous": pattern.diagonal(-1, dim1=3, dim2=4).mean((1, 3)),
            "current": pattern.diagonal(0, dim1=3, dim2=4)[..., 1:].mean((1, 3)), "first": first.mean((1, 3)),
            "sink": (pattern[..., :64, 0].mean(-1) > 0.3).float().mean(1), "losses": losses.mean(0)}  # fmt: skip


@torch.inference_mode()
def main(place: str, full: bool) -> None:
    torch.set_num_threads(1)
    folder = Path(place)
    given = torch.load(folder / "tokens.pt")
    start = time.process_time()
    means: dict[str, float] = {}
    for checkpoint in sorted((folder / "series").iterdir()):
        model = TransformerBridge.boot_transformers(str(checkpoint), dtype=torch.float32)
        scores = [
            repeated(model, tokens, period)
            for tokens, period in zip(
                given["repeated"].split(TOKENS_PER_BATCH // given["repeated"].shape[1]),
                given["period"].split(TOKENS_PER_BATCH // given["repeated"].shape[1]), strict=True,
            )
        ]  # fmt: skip
        windows = [text(model, tokens, full)
                   for tokens in given["text"].split(TOKENS_PER_BATCH // given["text"].shape[1])]  # fmt: skip
        means = {"prefix_matching": float(torch.stack([s["prefix_matching"] for s in scores]).mean()),
                 "previous_token_attention": float(torch.stack([s["previous"] for s in windows]).mean())}  # fmt: skip
        del model
        gc.collect()
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak, "means": means}))


main(sys.argv[1], sys.argv[2] == "full")
