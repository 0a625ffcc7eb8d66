"""The published sizes, as constructor arguments.

Sources: the `config.json` of deepseek-ai/DeepSeek-V2 and
deepseek-ai/DeepSeek-V2-Lite; the paper, https://arxiv.org/abs/2405.04434,
sections 3.1.2 and B.
"""

YARN = {
    "scaling_factor": 40.0,
    "original_max_length": 4096,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 0.707,
    "mscale_all_dim": 0.707,
}

DEEPSEEK_V2_PRESETS = {
    "deepseek_v2": {
        "vocabulary_size": 102_400,
        "num_layers": 60,
        "num_query_heads": 128,
        "hidden_dim": 5120,
        "intermediate_dim": 1536,
        "dense_intermediate_dim": 12_288,
        "num_experts": 160,
        "top_k": 6,
        "key_value_latent_dim": 512,
        "nope_head_dim": 128,
        "rope_head_dim": 64,
        "value_head_dim": 128,
        "query_latent_dim": 1536,
        "num_shared_experts": 2,
        "num_dense_layers": 1,
        "num_expert_groups": 8,
        "num_limited_groups": 3,
        "route_scale": 16.0,
        "rope_max_wavelength": 10_000.0,
        "yarn": YARN,
        "layer_norm_epsilon": 1e-6,
    },
    "deepseek_v2_lite": {
        "vocabulary_size": 102_400,
        "num_layers": 27,
        "num_query_heads": 16,
        "hidden_dim": 2048,
        "intermediate_dim": 1408,
        "dense_intermediate_dim": 10_944,
        "num_experts": 64,
        "top_k": 6,
        "key_value_latent_dim": 512,
        "nope_head_dim": 128,
        "rope_head_dim": 64,
        "value_head_dim": 128,
        "num_shared_experts": 2,
        "num_dense_layers": 1,
        "route_scale": 1.0,
        "rope_max_wavelength": 10_000.0,
        "yarn": YARN,
        "layer_norm_epsilon": 1e-6,
    },
}
"""DeepSeek-V2 and V2-Lite, as arguments of `DeepSeekV2Backbone`."""
