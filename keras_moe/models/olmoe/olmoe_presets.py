"""The published size, as constructor arguments.

Sources: the `config.json` of allenai/OLMoE-1B-7B-0924; the paper,
https://arxiv.org/abs/2409.02060, table 1. The weights of
the losses, 0.01 and 0.001, are our defaults. It was trained without clipping.
"""

OLMOE_PRESETS = {
    "olmoe_1b_7b": {
        "vocabulary_size": 50_304,
        "num_layers": 16,
        "num_query_heads": 16,
        "num_key_value_heads": 16,
        "hidden_dim": 2048,
        "intermediate_dim": 1024,
        "num_experts": 64,
        "top_k": 8,
        "rope_max_wavelength": 10_000.0,
        "layer_norm_epsilon": 1e-5,
    },
}
"""OLMoE 1B-7B, as arguments of `OLMoEBackbone`."""
