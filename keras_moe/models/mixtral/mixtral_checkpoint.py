"""Mixtral's files: mistralai/Mixtral-8x7B-v0.1 and its relatives."""

from keras_moe.checkpoints.architecture import DECODER_FIELDS
from keras_moe.checkpoints.architecture import Architecture
from keras_moe.checkpoints.architecture import Field
from keras_moe.checkpoints.architecture import key_value_heads
from keras_moe.checkpoints.decoder_rules import attention_rules
from keras_moe.checkpoints.decoder_rules import experts_rules
from keras_moe.checkpoints.decoder_rules import model_rules
from keras_moe.checkpoints.decoder_rules import norm_rules
from keras_moe.checkpoints.decoder_rules import router_rule
from keras_moe.checkpoints.layouts import LINEAR
from keras_moe.checkpoints.rope_config import read_plain_rope
from keras_moe.checkpoints.rope_config import write_plain_rope
from keras_moe.checkpoints.rules import Source

SPARSE = "model.layers.{layer}.block_sparse_moe"
FUSED_GATE = Source(("model.layers.{layer}.mlp.gate.weight",), LINEAR)


def _read_more(config):
    return {**read_plain_rope(config, 1e6), **key_value_heads(config, 8)}


MIXTRAL = Architecture(
    model_type="mixtral",
    class_name="MixtralForCausalLM",
    fixed={"hidden_act": "silu"},
    fields=(
        *DECODER_FIELDS,
        Field("num_key_value_heads", "num_key_value_heads", None),
        Field("head_dim", "head_dim", None),
        Field("intermediate_size", "intermediate_dim"),
        Field("num_local_experts", "num_experts"),
        Field("num_experts_per_tok", "top_k", 2),
        Field("sliding_window", "sliding_window", None),
        Field("router_jitter_noise", "jitter_noise", 0.0),
        Field("rms_norm_eps", "layer_norm_epsilon", 1e-5),
        Field("tie_word_embeddings", "tie_embedding_weights", False),
    ),
    read_more=_read_more,
    write_more=write_plain_rope,
    rules=(
        *model_rules(),
        *norm_rules(),
        *attention_rules(),
        router_rule(f"{SPARSE}.gate.weight", otherwise=(FUSED_GATE,)),
        *experts_rules(
            f"{SPARSE}.experts",
            gate="w1",
            up="w3",
            down="w2",
        ),
    ),
)
