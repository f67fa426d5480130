"""OLMoE: experts, which the files keep apart and the module stacks. No single W_out."""

FAMILY = "olmoe"

SITES = {
    "W_E": lambda p: p["model.embed_tokens.weight"],
    "W_U": lambda p: p.get("lm_head.weight", p["model.embed_tokens.weight"]).T,
}
