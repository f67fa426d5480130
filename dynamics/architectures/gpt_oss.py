"""gpt-oss: experts and attention sinks. No single W_out."""

FAMILY = "gpt_oss"

SITES = {
    "W_E": lambda p: p["model.embed_tokens.weight"],
    "W_U": lambda p: p.get("lm_head.weight", p["model.embed_tokens.weight"]).T,
}
