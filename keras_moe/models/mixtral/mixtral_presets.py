"""The published sizes, as constructor arguments.

Sources: the `config.json` of mistralai/Mixtral-8x7B-v0.1 and
mistralai/Mixtral-8x22B-v0.1; the paper, https://arxiv.org/abs/2401.04088,
table 1. The published models were trained without a z-loss and with
auxiliary-loss coefficients of 0.02 and 0.001 in another normalization
(pooled over layers, K times larger), so the weights here are our defaults.
"""

MIXTRAL_PRESETS = {
    "mixtral_8x7b": {
        "vocabulary_size": 32_000,
        "num_layers": 32,
        "num_query_heads": 32,
        "num_key_value_heads": 8,
        "hidden_dim": 4096,
        "intermediate_dim": 14_336,
        "num_experts": 8,
        "top_k": 2,
        "rope_max_wavelength": 1_000_000.0,
        "layer_norm_epsilon": 1e-5,
    },
    "mixtral_8x22b": {
        "vocabulary_size": 32_000,
        "num_layers": 56,
        "num_query_heads": 48,
        "num_key_value_heads": 8,
        "hidden_dim": 6144,
        "intermediate_dim": 16_384,
        "num_experts": 8,
        "top_k": 2,
        "rope_max_wavelength": 1_000_000.0,
        "layer_norm_epsilon": 1e-5,
    },
}
"""Mixtral 8x7B and 8x22B, as arguments of `MixtralBackbone`."""
