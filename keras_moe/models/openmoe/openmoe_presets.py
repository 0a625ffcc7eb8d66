"""The published sizes, as constructor arguments.

Source: the `config.json` of OrionZheng/openmoe-base, openmoe-8b and
openmoe-34b-200B. Counted from them are 0.80, 11.86 and 46.27 billion
parameters, 0.54, 3.80 and 10.03 of them active, and the published files
agree: 3.2 GB and 47.4 GB of float32 for the first two. The table of sizes in
the paper's appendix (https://arxiv.org/abs/2402.01739) says 650M, 8.7B and
34B, active 339M, 2.6B and 6.8B. It leaves out one of the two embeddings, with
which the base's active parameters agree; the other figures are roughly those
of three matrices per feed-forward block, where the files have four.

The published models were trained with a load-balancing loss of 0.01, twice
ours at the same weight and averaged over the layers, a z-loss of 0.0001,
averaged too, and a capacity factor of 1.25.
"""

OPENMOE_PRESETS = {
    "openmoe_base": {
        "vocabulary_size": 256_384,
        "num_layers": 12,
        "num_query_heads": 12,
        "num_key_value_heads": 12,
        "head_dim": 64,
        "hidden_dim": 768,
        "intermediate_dim": 2048,
        "num_experts": 16,
        "top_k": 2,
        "expert_layer_stride": 4,
        "layer_norm_epsilon": 1e-6,
    },
    "openmoe_8b": {
        "vocabulary_size": 256_384,
        "num_layers": 24,
        "num_query_heads": 24,
        "num_key_value_heads": 24,
        "head_dim": 128,
        "hidden_dim": 2048,
        "intermediate_dim": 8192,
        "num_experts": 32,
        "top_k": 2,
        "expert_layer_stride": 6,
        "layer_norm_epsilon": 1e-6,
    },
    "openmoe_34b": {
        "vocabulary_size": 256_384,
        "num_layers": 32,
        "num_query_heads": 24,
        "num_key_value_heads": 24,
        "head_dim": 128,
        "hidden_dim": 3072,
        "intermediate_dim": 12_288,
        "num_experts": 32,
        "top_k": 2,
        "expert_layer_stride": 4,
        "layer_norm_epsilon": 1e-6,
    },
}
"""OpenMoE base, 8B and 34B, as arguments of `OpenMoEBackbone`."""
