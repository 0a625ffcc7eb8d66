"""Qwen2-MoE's files: Qwen/Qwen1.5-MoE-A2.7B, Qwen/Qwen2-57B-A14B."""

from keras_moe.checkpoints.architecture import Architecture
from keras_moe.checkpoints.architecture import Field
from keras_moe.checkpoints.architecture import read_plain_rope
from keras_moe.checkpoints.architecture import write_plain_rope
from keras_moe.checkpoints.decoder_rules import BLOCK
from keras_moe.checkpoints.decoder_rules import LAYER
from keras_moe.checkpoints.decoder_rules import attention_rules
from keras_moe.checkpoints.decoder_rules import experts_rules
from keras_moe.checkpoints.decoder_rules import feed_forward_rules
from keras_moe.checkpoints.decoder_rules import model_rules
from keras_moe.checkpoints.decoder_rules import norm_rules
from keras_moe.checkpoints.decoder_rules import router_rule
from keras_moe.checkpoints.layouts import LINEAR
from keras_moe.checkpoints.rules import rule
from keras_moe.models.qwen2_moe.qwen_fields import QWEN_FIELDS

SPARSE = f"{BLOCK}.feed_forward"


QWEN2_MOE = Architecture(
    model_type="qwen2_moe",
    class_name="Qwen2MoeForCausalLM",
    # Which layers slide changed between transformers 4 and 5, and no
    # published model has a window: we do not guess.
    fixed={"hidden_act": "silu", "qkv_bias": True, "use_sliding_window": False},
    fields=(
        *QWEN_FIELDS,
        Field("shared_expert_intermediate_size", "shared_intermediate_dim"),
        Field("num_experts", "num_experts"),
    ),
    read_more=read_plain_rope,
    write_more=write_plain_rope,
    rules=(
        *model_rules(),
        *norm_rules(),
        *attention_rules(),
        *feed_forward_rules(SPARSE, f"{LAYER}.mlp"),  # In the dense layers.
        router_rule(within="routed_experts."),
        *experts_rules(
            f"{LAYER}.mlp.experts", ours=f"{SPARSE}.routed_experts.experts"
        ),
        *feed_forward_rules(
            f"{SPARSE}.shared_experts", f"{LAYER}.mlp.shared_expert"
        ),
        rule(
            f"{SPARSE}.shared_expert_gate.kernel",
            f"{LAYER}.mlp.shared_expert_gate.weight",
            layout=LINEAR,
        ),
    ),
)
