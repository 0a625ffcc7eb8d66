"""OLMoE's files: allenai/OLMoE-1B-7B-0924 and its relatives."""

from keras_moe.checkpoints.architecture import Architecture
from keras_moe.checkpoints.architecture import Field
from keras_moe.checkpoints.architecture import check_plain_rope
from keras_moe.checkpoints.architecture import plain_rope_parameters
from keras_moe.checkpoints.architecture import rope_theta
from keras_moe.checkpoints.decoder_rules import BLOCK
from keras_moe.checkpoints.decoder_rules import LAYER
from keras_moe.checkpoints.decoder_rules import attention_rules
from keras_moe.checkpoints.decoder_rules import experts_rules
from keras_moe.checkpoints.decoder_rules import model_rules
from keras_moe.checkpoints.decoder_rules import norm_rules
from keras_moe.checkpoints.layouts import LINEAR
from keras_moe.checkpoints.rules import rule


def _read_more(config):
    check_plain_rope(config)
    return {"rope_max_wavelength": rope_theta(config)}


OLMOE = Architecture(
    model_type="olmoe",
    class_name="OlmoeForCausalLM",
    fixed={"hidden_act": "silu", "attention_bias": False},
    fields=(
        Field("vocab_size", "vocabulary_size"),
        Field("num_hidden_layers", "num_layers"),
        Field("num_attention_heads", "num_query_heads"),
        Field("num_key_value_heads", "num_key_value_heads"),
        Field("hidden_size", "hidden_dim"),
        Field("intermediate_size", "intermediate_dim"),
        Field("num_experts", "num_experts"),
        Field("num_experts_per_tok", "top_k"),
        Field("norm_topk_prob", "normalize_combine_weights", False),
        Field("clip_qkv", "clip_query_key_value", None),
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
            f"{BLOCK}.feed_forward.router.kernel",
            f"{LAYER}.mlp.gate.weight",
            layout=LINEAR,
        ),
        *experts_rules(f"{LAYER}.mlp.experts"),
    ),
)
