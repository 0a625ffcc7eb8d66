"""The published size, as constructor arguments.

Source: the `config.json` of databricks/dbrx-base and databricks/dbrx-instruct.
The published model was trained with an auxiliary-loss coefficient of 0.05 in
another normalization (pooled over layers, K times larger), so the weights of
the losses here are our defaults.
"""

DBRX_PRESETS = {
    "dbrx": {
        "vocabulary_size": 100_352,
        "num_layers": 40,
        "num_query_heads": 48,
        "num_key_value_heads": 8,
        "hidden_dim": 6144,
        "intermediate_dim": 10_752,
        "num_experts": 16,
        "top_k": 4,
        "combine_weights_power": 1.0,
        "clip_query_key_value": 8.0,
        "rope_max_wavelength": 500_000.0,
        "layer_norm_epsilon": 1e-5,
    },
}
"""DBRX, as arguments of `DbrxBackbone`."""
