"""How like another checkpoint's a head's attention is, query by query."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.contract import metric

Rows = Float[Tensor, "batch n layer head key_pos"]


@metric(
    title="Attention's cosine to the final checkpoint", unit="cosine", task="text", axes=("layer", "head"), lower=0.0,
    upper=1.0, source="cosine similarity of attention patterns, row by row",
)  # fmt: skip
def attention_cosine_to_final(
    attention_rows: Rows, attention_rows_final: Rows
) -> Float[Tensor, "batch layer head"]:
    """Does a head already attend where it will at the end of training?

    **Definition.** <p, p_final> / (||p|| ||p_final||) with p the attention of one query to every key, averaged over
    eight queries evenly spread over the sequence.

    **Reads.** `attention_rows`, and the same at the last checkpoint, in half precision.

    **Returns** [batch layer head], 0..1, 1 at the last checkpoint. Attention is nowhere negative, so that unrelated
    patterns are not at 0: uniform attention over q + 1 keys has 1/sqrt(q + 1) to a head that looks at one place, and
    1 to a head that ends uniform. Never NaN.

    **Source.** The usual cosine similarity. Departure: eight queries of each example in place of all of them, so that
    the final patterns of a whole task fit in memory.

    **Example.** Even attention over two tokens, and in the end the first alone:

    >>> here, final = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])
    >>> attention_cosine_to_final(here[None, None, None, None], final[None, None, None, None])
    tensor([[[0.7071]]])
    """
    by_layer = [
        torch.cosine_similarity(here.float(), final.float(), dim=-1).mean(1)
        for here, final in zip(attention_rows.unbind(2), attention_rows_final.unbind(2), strict=True)
    ]
    return torch.stack(by_layer, 1)
