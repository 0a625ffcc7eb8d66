"""Mixtral's files: mistralai/Mixtral-8x7B-v0.1 and its relatives."""

from keras_moe.checkpoints.architecture import Architecture
from keras_moe.checkpoints.architecture import Field
from keras_moe.checkpoints.architecture import check_plain_rope
from keras_moe.checkpoints.architecture import plain_rope_parameters
from keras_moe.checkpoints.architecture import rope_theta
from keras_moe.checkpoints.decoder_rules import attention_rules
from keras_moe.checkpoints.decoder_rules import experts_rules
from keras_moe.checkpoints.decoder_rules import model_rules
from keras_moe.checkpoints.decoder_rules import norm_rules
from keras_moe.checkpoints.layouts import LINEAR
from keras_moe.checkpoints.rules import Source
from keras_moe.checkpoints.rules import rule

SPARSE = "model.layers.{layer}.block_sparse_moe"
FUSED_GATE = Source(("model.layers.{layer}.mlp.gate.weight",), LINEAR)


def _read_more(config):
    check_plain_rope(config)
    return {"rope_max_wavelength": rope_theta(config, 1e6)}


MIXTRAL = Architecture(
    model_type="mixtral",
    class_name="MixtralForCausalLM",
    fixed={"hidden_act": "silu"},
    fields=(
        Field("vocab_size", "vocabulary_size"),
        Field("num_hidden_layers", "num_layers"),
        Field("num_attention_heads", "num_query_heads"),
        Field("num_key_value_heads", "num_key_value_heads"),
        Field("head_dim", "head_dim", None),
        Field("hidden_size", "hidden_dim"),
        Field("intermediate_size", "intermediate_dim"),
        Field("num_local_experts", "num_experts"),
        Field("num_experts_per_tok", "top_k", 2),
        Field("sliding_window", "sliding_window", None),
        Field("rms_norm_eps", "layer_norm_epsilon", 1e-5),
        Field("tie_word_embeddings", "tie_embedding_weights", False),
    ),
    read_more=_read_more,
    write_more=plain_rope_parameters,
    rules=(
        *model_rules(),
        *norm_rules(),
        *attention_rules(),
        rule(
            "decoder_blocks.{layer}.feed_forward.router.kernel",
            f"{SPARSE}.gate.weight",
            layout=LINEAR,
            otherwise=(FUSED_GATE,),
        ),
        *experts_rules(
            f"{SPARSE}.experts",
            gate="w1",
            up="w3",
            down="w2",
        ),
    ),
)
