"""The published sizes, as constructor arguments.

Sources: the `config.json` of deepseek-ai/DeepSeek-V3 and
moonshotai/Kimi-K2-Instruct; the papers, https://arxiv.org/abs/2412.19437,
section 4.2, and https://arxiv.org/abs/2507.20534, table 2. Kimi-K2-Instruct
of September has the same sizes with `scaling_factor=64`.
"""

DEEPSEEK_V3_SIZE: dict = {
    "vocabulary_size": 129_280,
    "num_layers": 61,
    "num_query_heads": 128,
    "hidden_dim": 7168,
    "intermediate_dim": 2048,
    "dense_intermediate_dim": 18_432,
    "num_experts": 256,
    "top_k": 8,
    "key_value_latent_dim": 512,
    "nope_head_dim": 128,
    "rope_head_dim": 64,
    "value_head_dim": 128,
    "query_latent_dim": 1536,
    "num_shared_experts": 1,
    "num_dense_layers": 3,
    "num_expert_groups": 8,
    "num_limited_groups": 4,
    "normalize_combine_weights": True,
    "route_scale": 2.5,
    "rope_max_wavelength": 10_000.0,
    "yarn": {
        "scaling_factor": 40.0,
        "original_max_length": 4096,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
    },
    "layer_norm_epsilon": 1e-6,
}
DEEPSEEK_V3_PRESETS = {
    "deepseek_v3": DEEPSEEK_V3_SIZE,
    "kimi_k2": {
        **DEEPSEEK_V3_SIZE,
        "vocabulary_size": 163_840,
        "num_query_heads": 64,
        "num_experts": 384,
        "num_dense_layers": 1,
        "num_expert_groups": 1,
        "num_limited_groups": 1,
        "route_scale": 2.827,
        "rope_max_wavelength": 50_000.0,
        "yarn": {
            **DEEPSEEK_V3_SIZE["yarn"],
            "scaling_factor": 32.0,
            "beta_fast": 1.0,
        },
    },
}
"""DeepSeek-V3 and Kimi K2, as arguments of `DeepSeekV3Backbone`."""
