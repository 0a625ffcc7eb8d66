"""Qwen3-MoE's files: Qwen/Qwen3-30B-A3B, Qwen/Qwen3-235B-A22B."""

from keras_moe.checkpoints.architecture import DECODER_FIELDS
from keras_moe.checkpoints.architecture import Architecture
from keras_moe.checkpoints.architecture import Field
from keras_moe.checkpoints.architecture import look_up
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


def _read_more(config):
    return {
        "head_dim": look_up(config, "head_dim"),
        **read_plain_rope(config),
    }


def _write_more(arguments):
    config = write_plain_rope(arguments)
    if arguments["head_dim"] is not None:  # A null is no default for them.
        config["head_dim"] = arguments["head_dim"]
    return config


QWEN3_MOE = Architecture(
    model_type="qwen3_moe",
    class_name="Qwen3MoeForCausalLM",
    fixed={
        "hidden_act": "silu",
        "attention_bias": False,
        "use_sliding_window": False,
    },
    fields=(
        *DECODER_FIELDS,
        Field("num_key_value_heads", "num_key_value_heads"),
        Field("moe_intermediate_size", "intermediate_dim"),
        # Published under one name, saved by transformers 5 under the other.
        Field("num_experts", "num_experts", also=("num_local_experts",)),
        Field("num_experts_per_tok", "top_k"),
        Field("norm_topk_prob", "normalize_combine_weights", False),
        Field("decoder_sparse_step", "expert_layer_stride", 1),
        Field("mlp_only_layers", "dense_layers", ()),
        Field("intermediate_size", "dense_intermediate_dim"),
        Field("rms_norm_eps", "layer_norm_epsilon", 1e-6),
        Field("tie_word_embeddings", "tie_embedding_weights", False),
    ),
    read_more=_read_more,
    write_more=_write_more,
    rules=(
        *model_rules(),
        *norm_rules(),
        *attention_rules(),
        # In the dense layers.
        *feed_forward_rules(f"{BLOCK}.feed_forward", f"{LAYER}.mlp"),
        router_rule(),
        *experts_rules(f"{LAYER}.mlp.experts"),
    ),
)
