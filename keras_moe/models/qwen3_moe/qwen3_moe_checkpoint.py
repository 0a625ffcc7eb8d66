"""Qwen3-MoE's files: Qwen/Qwen3-30B-A3B, Qwen/Qwen3-235B-A22B."""

from keras_moe.checkpoints.architecture import Architecture
from keras_moe.checkpoints.architecture import Field
from keras_moe.checkpoints.architecture import check_plain_rope
from keras_moe.checkpoints.architecture import look_up
from keras_moe.checkpoints.architecture import plain_rope_parameters
from keras_moe.checkpoints.architecture import rope_theta
from keras_moe.checkpoints.decoder_rules import BLOCK
from keras_moe.checkpoints.decoder_rules import LAYER
from keras_moe.checkpoints.decoder_rules import attention_rules
from keras_moe.checkpoints.decoder_rules import experts_rules
from keras_moe.checkpoints.decoder_rules import feed_forward_rules
from keras_moe.checkpoints.decoder_rules import model_rules
from keras_moe.checkpoints.decoder_rules import norm_rules
from keras_moe.checkpoints.layouts import LINEAR
from keras_moe.checkpoints.rules import rule


def _read_more(config):
    check_plain_rope(config)
    return {
        "head_dim": look_up(config, "head_dim"),
        "rope_max_wavelength": rope_theta(config),
    }


def _write_more(arguments):
    config = plain_rope_parameters(arguments)
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
        Field("vocab_size", "vocabulary_size"),
        Field("num_hidden_layers", "num_layers"),
        Field("num_attention_heads", "num_query_heads"),
        Field("num_key_value_heads", "num_key_value_heads"),
        Field("hidden_size", "hidden_dim"),
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
        rule(
            f"{BLOCK}.feed_forward.router.kernel",
            f"{LAYER}.mlp.gate.weight",
            layout=LINEAR,
        ),
        *experts_rules(f"{LAYER}.mlp.experts"),
    ),
)
