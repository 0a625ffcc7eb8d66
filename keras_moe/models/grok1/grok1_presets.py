"""The published size, as constructor arguments.

Source: `run.py` of https://github.com/xai-org/grok-1. An expert's width is
`int(8 * 6144) * 2 // 3 = 32,768` (`ffn_size` of `model.py`). Announced are
314B parameters, 86B of them active; these settings have 315.7B, of which
0.8B are the embedding, and one token meets 83.8B. The other arguments have
the defaults of `Grok1Backbone`, which are those of the published model.
"""

GROK1_PRESETS = {
    "grok_1": {
        "vocabulary_size": 131_072,
        "num_layers": 64,
        "num_query_heads": 48,
        "num_key_value_heads": 8,
        "hidden_dim": 6144,
        "intermediate_dim": 32_768,
        "num_experts": 8,
        "top_k": 2,
    },
}
"""Grok-1, as arguments of `Grok1Backbone`."""
