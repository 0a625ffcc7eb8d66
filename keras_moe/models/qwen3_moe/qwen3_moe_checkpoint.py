"""Qwen3-MoE's files: Qwen/Qwen3-30B-A3B, Qwen/Qwen3-235B-A22B."""

from keras_moe.checkpoints.checkpoint_format import CheckpointFormat
from keras_moe.checkpoints.checkpoint_format import Field
from keras_moe.checkpoints.checkpoint_format import look_up
from keras_moe.checkpoints.decoder_rules import BLOCK
from keras_moe.checkpoints.decoder_rules import LAYER
from keras_moe.checkpoints.decoder_rules import decoder_rules
from keras_moe.checkpoints.decoder_rules import experts_rules
from keras_moe.checkpoints.decoder_rules import feed_forward_rules
from keras_moe.checkpoints.decoder_rules import router_rule
from keras_moe.checkpoints.rope_config import read_plain_rope
from keras_moe.checkpoints.rope_config import write_plain_rope
from keras_moe.models.qwen.qwen_fields import QWEN_FIELDS

# Where a config.json uses a window and does not say which.
SLIDING_WINDOW = 4096


def _read_more(config):
    sliding = look_up(config, "use_sliding_window", False)
    return {
        "head_dim": look_up(config, "head_dim"),
        # Published models say 4096, and do not use it.
        "sliding_window": (
            look_up(config, "sliding_window", SLIDING_WINDOW)
            if sliding
            else None
        ),
        **read_plain_rope(config),
    }


def _write_more(arguments):
    config = write_plain_rope(arguments)
    window = arguments["sliding_window"]
    config["use_sliding_window"] = window is not None
    if window is not None:
        config["sliding_window"] = window
    if arguments["head_dim"] is not None:  # A null is no default for them.
        config["head_dim"] = arguments["head_dim"]
    return config


QWEN3_MOE = CheckpointFormat(
    model_type="qwen3_moe",
    class_name="Qwen3MoeForCausalLM",
    fixed={"hidden_act": "silu"},
    fields=(
        *QWEN_FIELDS,
        Field("attention_bias", "use_attention_bias", False),
        # Published under one name, saved by transformers 5 under the other.
        Field("num_experts", "num_experts", also=("num_local_experts",)),
    ),
    read_more=_read_more,
    write_more=_write_more,
    rules=(
        *decoder_rules(),
        # In the dense layers.
        *feed_forward_rules(f"{BLOCK}.feed_forward", f"{LAYER}.mlp"),
        router_rule(),
        *experts_rules(),
    ),
)
