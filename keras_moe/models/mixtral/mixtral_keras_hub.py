"""How keras-hub's own Mixtral lies in a preset's folder."""

from keras_moe.checkpoints.checkpoint_format import CheckpointFormat
from keras_moe.checkpoints.checkpoint_format import Field
from keras_moe.checkpoints.decoder_rules import BLOCK
from keras_moe.checkpoints.keras_hub_rules import HUB_FIELDS
from keras_moe.checkpoints.keras_hub_rules import LAYER
from keras_moe.checkpoints.keras_hub_rules import hub_decoder_rules
from keras_moe.checkpoints.keras_hub_rules import read_dtype
from keras_moe.checkpoints.layouts import side_by_side
from keras_moe.checkpoints.rules import rule

SPARSE = "_sparse_moe_block"
EXPERTS = f"{LAYER}/{SPARSE}/expert_bank"

MIXTRAL_OF_KERAS_HUB = CheckpointFormat(
    model_type="keras_hub>MixtralBackbone",
    class_name="MixtralBackbone",
    fields=(
        *HUB_FIELDS,
        Field("intermediate_dim", "intermediate_dim"),
        Field("sliding_window", "sliding_window", None),
        Field("rope_scaling_factor", "rope_scaling_factor", 1.0),
        Field("router_jitter_noise", "jitter_noise", 0.0),
    ),
    read_more=read_dtype,
    rules=(
        *hub_decoder_rules(
            "mixtral_layer_normalization",
            ("query_dense", "key_dense", "value_dense", "output_dense"),
            SPARSE,
        ),
        rule(
            f"{BLOCK}.feed_forward.experts.gate_up.kernel",
            f"{EXPERTS}/0",
            f"{EXPERTS}/1",
            layout=side_by_side(1, 1),
        ),
        rule(f"{BLOCK}.feed_forward.experts.down.kernel", f"{EXPERTS}/2"),
    ),
)
