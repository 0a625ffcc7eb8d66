"""Published Switch and ST-MoE architectures as constructor arguments.

Sources: https://arxiv.org/abs/2101.03961, table 9, and the configurations of
their authors in https://github.com/google/flaxformer at 399ea3a,
flaxformer/t5x/configs/moe/models/*.gin (`switch_*`, `st_moe_*` and what they
include). As there, Switch-XXL, Switch-C and ST-MoE have a head of their own.
What the files say of training alone (initial scale 0.1, groups across
sequences, at least 2 or 4 slots) is not taken over. ST-MoE's two weights are
divided by their sum as in MeshTensorFlow, which trained it
(mesh_tensorflow/transformer/moe.py, `_top_2_gating`), not in flaxformer;
MeshTensorFlow also leaves out weak second experts, by chance.
"""

from typing import Any

from keras_moe.balancing import LoadBalancingLoss
from keras_moe.balancing import RouterZLoss
from keras_moe.routing.capacity import Capacity

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
"""Switch and ST-MoE, as arguments of `SwitchBackbone`."""
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
    "router": {"capacity": Capacity(factor=1.25, eval_factor=4.0)},
    "tie_embedding_weights": False,
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
    "router": {"capacity": Capacity(factor=1.0, eval_factor=2.0)},
    "tie_embedding_weights": False,
}


def _st_moe_router(z_loss_weight, factor=1.25, eval_factor=2.0):
    return {
        "jitter_noise": 0.0,
        "balancing": [LoadBalancingLoss(0.01), RouterZLoss(z_loss_weight)],
        "capacity": Capacity(factor, eval_factor),
    }


_ST_MOE = {
    "vocabulary_size": 32128,
    "expert_layer_stride": 4,
    "expert_layer_offset": 3,
    "use_extra_feed_forward": True,
    "top_k": 2,
    "activation": "gelu",
    "use_gated_activation": True,
    "tie_embedding_weights": False,
}
SWITCH_PRESETS["st_moe_base"] = {
    **_ST_MOE,
    "num_layers": 12,
    "num_heads": 12,
    "hidden_dim": 768,
    "key_value_dim": 64,
    "intermediate_dim": 2048,
    "num_experts": 16,
    "router": _st_moe_router(1e-4),
}
SWITCH_PRESETS["st_moe_xl"] = {
    **_ST_MOE,
    "num_layers": 24,
    "num_heads": 32,
    "hidden_dim": 2048,
    "key_value_dim": 64,
    "intermediate_dim": 5120,
    "num_experts": 16,
    "router": _st_moe_router(1e-4, factor=2.0, eval_factor=4.0),
}
SWITCH_PRESETS["st_moe_32b"] = {
    **_ST_MOE,
    "num_layers": 24,
    "num_heads": 64,
    "hidden_dim": 5120,
    "key_value_dim": 128,
    "intermediate_dim": 20480,
    "num_experts": 64,
    "router": _st_moe_router(1e-3),
}
