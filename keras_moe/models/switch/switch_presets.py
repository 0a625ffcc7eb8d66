"""Published Switch Transformer architectures as constructor arguments."""

from typing import Any

# Architectures of https://arxiv.org/abs/2101.03961, table 9, with the details
# of the published checkpoints: vocabulary 32128, every second block sparse.
_BASE = {
    "vocabulary_size": 32128,
    "num_layers": 12,
    "num_heads": 12,
    "hidden_dim": 768,
    "key_value_dim": 64,
    "intermediate_dim": 3072,
    "expert_layer_stride": 2,
}

SWITCH_PRESETS: dict[str, dict[str, Any]] = {
    f"switch_base_{num_experts}": {**_BASE, "num_experts": num_experts}
    for num_experts in (8, 16, 32, 64, 128, 256)
}
SWITCH_PRESETS["switch_large_128"] = {
    "vocabulary_size": 32128,
    "num_layers": 24,
    "num_heads": 16,
    "hidden_dim": 1024,
    "key_value_dim": 64,
    "intermediate_dim": 4096,
    "num_experts": 128,
    "expert_layer_stride": 2,
}
SWITCH_PRESETS["switch_xxl_128"] = {
    "vocabulary_size": 32128,
    "num_layers": 24,
    "num_heads": 64,
    "hidden_dim": 4096,
    "key_value_dim": 64,
    "intermediate_dim": 10240,
    "num_experts": 128,
    "expert_layer_stride": 2,
    "activation": "gelu",
    "use_gated_activation": True,
    "eval_capacity_factor": 4.0,
}
SWITCH_PRESETS["switch_c_2048"] = {
    "vocabulary_size": 32128,
    "num_layers": 15,
    "num_heads": 30,
    "hidden_dim": 2080,
    "key_value_dim": 64,
    "intermediate_dim": 6144,
    "num_experts": 2048,
    "expert_layer_stride": 1,
    "capacity_factor": 1.0,
}
