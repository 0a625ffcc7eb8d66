"""How keras-hub's own Qwen-MoE lies in a preset's folder."""

from keras_moe.checkpoints.checkpoint_format import CheckpointFormat
from keras_moe.checkpoints.checkpoint_format import Field
from keras_moe.checkpoints.decoder_rules import BLOCK
from keras_moe.checkpoints.keras_hub_rules import HUB_QWEN_FIELDS
from keras_moe.checkpoints.keras_hub_rules import LAYER
from keras_moe.checkpoints.keras_hub_rules import hub_decoder_rules
from keras_moe.checkpoints.keras_hub_rules import hub_experts_rules
from keras_moe.checkpoints.keras_hub_rules import hub_feed_forward_rules
from keras_moe.checkpoints.keras_hub_rules import read_dtype
from keras_moe.checkpoints.rules import rule

WITHIN = "routed_experts."

QWEN2_MOE_OF_KERAS_HUB = CheckpointFormat(
    model_type="keras_hub>QwenMoeBackbone",
    class_name="QwenMoeBackbone",
    # keras-hub 0.32 decides for all layers at once, by these two, whether they
    # are sparse; no published model has other values.
    fixed={
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "rope_scaling_factor": 1.0,
        "use_sliding_window_attention": False,
    },
    fields=(
        *HUB_QWEN_FIELDS,
        Field("shared_expert_intermediate_dim", "shared_intermediate_dim"),
    ),
    read_more=read_dtype,
    rules=(
        *hub_decoder_rules(
            "qwen_layer_norm",
            ("query_dense", "key_dense", "value_dense", "_output_dense"),
            within=WITHIN,
        ),
        *hub_experts_rules(WITHIN),
        *hub_feed_forward_rules(
            f"{BLOCK}.feed_forward.shared_experts",
            f"{LAYER}/mlp/shared_expert_dense",
        ),
        rule(
            f"{BLOCK}.feed_forward.shared_expert_gate.kernel",
            f"{LAYER}/mlp/shared_expert_gate_dense/0",
        ),
    ),
)
