"""How keras-hub's own Qwen3-MoE lies in a preset's folder."""

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

ATTENTION = f"{LAYER}/_self_attention_layer"

QWEN3_MOE_OF_KERAS_HUB = CheckpointFormat(
    model_type="keras_hub>Qwen3MoeBackbone",
    class_name="Qwen3MoeBackbone",
    # No published model has a window; keras-hub's default is as long as the
    # longest sequence.
    fixed={"rope_scaling_factor": 1.0, "sliding_window_size": 32768},
    fields=(*HUB_QWEN_FIELDS, Field("head_dim", "head_dim", None)),
    read_more=read_dtype,
    rules=(
        *hub_decoder_rules(
            "qwen3_moe_layer_norm",
            ("_query_dense", "_key_dense", "_value_dense", "_output_dense"),
        ),
        rule(
            f"{BLOCK}.attention.query_norm.scale",
            f"{ATTENTION}/_query_dense_layer_norm/0",
        ),
        rule(
            f"{BLOCK}.attention.key_norm.scale",
            f"{ATTENTION}/_key_dense_layer_norm/0",
        ),
        *hub_feed_forward_rules(f"{BLOCK}.feed_forward", f"{LAYER}/mlp"),
        *hub_experts_rules(),
    ),
)
