"""The published sizes, as constructor arguments.

Sources: the `config.json` of Qwen/Qwen1.5-MoE-A2.7B and Qwen/Qwen2-57B-A14B;
the report, https://arxiv.org/abs/2407.10671, table 1. The shared expert is as
wide as 4 and 8 routed ones. The published auxiliary-loss coefficient, 0.001,
is meant for another normalization (pooled over layers, K times larger), so
the weights here are our defaults.
"""

QWEN2_MOE_PRESETS = {
    "qwen1_5_moe_a2_7b": {
        "vocabulary_size": 151_936,
        "num_layers": 24,
        "num_query_heads": 16,
        "num_key_value_heads": 16,
        "hidden_dim": 2048,
        "intermediate_dim": 1408,
        "shared_intermediate_dim": 5632,
        "num_experts": 60,
        "top_k": 4,
        "dense_intermediate_dim": 5632,
        "rope_max_wavelength": 1_000_000.0,
        "layer_norm_epsilon": 1e-6,
    },
    "qwen2_57b_a14b": {
        "vocabulary_size": 151_936,
        "num_layers": 28,
        "num_query_heads": 28,
        "num_key_value_heads": 4,
        "hidden_dim": 3584,
        "intermediate_dim": 2560,
        "shared_intermediate_dim": 20_480,
        "num_experts": 64,
        "top_k": 8,
        "dense_intermediate_dim": 18_944,
        "rope_max_wavelength": 1_000_000.0,
        "layer_norm_epsilon": 1e-6,
    },
}
"""Qwen1.5-MoE and Qwen2-MoE, as arguments of `Qwen2MoEBackbone`."""
