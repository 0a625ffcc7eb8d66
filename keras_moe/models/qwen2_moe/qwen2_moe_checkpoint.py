"""Qwen2-MoE's files: Qwen/Qwen1.5-MoE-A2.7B, Qwen/Qwen2-57B-A14B."""

from keras_moe.checkpoints.checkpoint_format import CheckpointFormat
from keras_moe.checkpoints.checkpoint_format import Field
from keras_moe.checkpoints.checkpoint_format import look_up
from keras_moe.checkpoints.decoder_rules import BLOCK
from keras_moe.checkpoints.decoder_rules import LAYER
from keras_moe.checkpoints.decoder_rules import decoder_rules
from keras_moe.checkpoints.decoder_rules import experts_rules
from keras_moe.checkpoints.decoder_rules import feed_forward_rules
from keras_moe.checkpoints.decoder_rules import router_rule
from keras_moe.checkpoints.layouts import LINEAR
from keras_moe.checkpoints.rope_config import read_plain_rope
from keras_moe.checkpoints.rope_config import write_plain_rope
from keras_moe.checkpoints.rules import rule
from keras_moe.models.qwen.qwen_fields import QWEN_FIELDS

SPARSE = f"{BLOCK}.feed_forward"


def _read_more(config):
    layers = set(look_up(config, "layer_types", ())) - {"full_attention"}
    head_dim = look_up(config, "head_dim")
    width = look_up(config, "hidden_size", 0)
    heads = look_up(config, "num_attention_heads", 1)
    if layers or head_dim not in (None, width // heads):
        raise ValueError(
            "Expected layers with full attention and heads of width "
            f"{width // heads} of a qwen2_moe. Received: layer_types with "
            f"{sorted(layers)}, head_dim={head_dim}. No published model has "
            "others."
        )
    return read_plain_rope(config)


QWEN2_MOE = CheckpointFormat(
    model_type="qwen2_moe",
    class_name="Qwen2MoeForCausalLM",
    # Which layers slide changed between transformers 4 and 5, and no
    # published model has a window: we do not guess.
    fixed={"hidden_act": "silu", "use_sliding_window": False},
    fields=(
        *QWEN_FIELDS,
        Field("shared_expert_intermediate_size", "shared_intermediate_dim"),
        Field("num_experts", "num_experts"),
        Field("qkv_bias", "use_query_key_value_bias", True),
    ),
    read_more=_read_more,
    write_more=write_plain_rope,
    rules=(
        *decoder_rules(),
        *feed_forward_rules(SPARSE, f"{LAYER}.mlp"),  # In the dense layers.
        router_rule(within="routed_experts."),
        *experts_rules(ours=f"{SPARSE}.routed_experts.experts"),
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
