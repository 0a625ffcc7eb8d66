"""The published sizes, as constructor arguments.

Sources: the `config.json` of Qwen/Qwen3-30B-A3B and Qwen/Qwen3-235B-A22B; the
report, https://arxiv.org/abs/2505.09388, table 2. The later releases of July
2025 have the same sizes and a longer `rope_theta`. The published
auxiliary-loss coefficient, 0.001, is meant for another normalization (pooled
over layers, K times larger), so the weights here are our defaults.
"""

QWEN3_MOE_PRESETS = {
    "qwen3_30b_a3b": {
        "vocabulary_size": 151_936,
        "num_layers": 48,
        "num_query_heads": 32,
        "num_key_value_heads": 4,
        "hidden_dim": 2048,
        "intermediate_dim": 768,
        "num_experts": 128,
        "top_k": 8,
        "head_dim": 128,
        "dense_intermediate_dim": 6144,
        "rope_max_wavelength": 1_000_000.0,
        "layer_norm_epsilon": 1e-6,
    },
    "qwen3_235b_a22b": {
        "vocabulary_size": 151_936,
        "num_layers": 94,
        "num_query_heads": 64,
        "num_key_value_heads": 4,
        "hidden_dim": 4096,
        "intermediate_dim": 1536,
        "num_experts": 128,
        "top_k": 8,
        "head_dim": 128,
        "dense_intermediate_dim": 12_288,
        "rope_max_wavelength": 1_000_000.0,
        "layer_norm_epsilon": 1e-6,
    },
}
"""Qwen3-MoE, as arguments of `Qwen3MoEBackbone`."""
