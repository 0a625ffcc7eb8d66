"""Mixtral's files: mistralai/Mixtral-8x7B-v0.1 and its relatives."""

from keras_moe.checkpoints.checkpoint_format import DECODER_FIELDS
from keras_moe.checkpoints.checkpoint_format import CheckpointFormat
from keras_moe.checkpoints.checkpoint_format import Field
from keras_moe.checkpoints.checkpoint_format import query_heads
from keras_moe.checkpoints.decoder_rules import decoder_rules
from keras_moe.checkpoints.decoder_rules import experts_rules
from keras_moe.checkpoints.decoder_rules import router_rule
from keras_moe.checkpoints.layouts import LINEAR
from keras_moe.checkpoints.rope_config import read_plain_rope
from keras_moe.checkpoints.rope_config import write_plain_rope
from keras_moe.checkpoints.rules import Source

SPARSE = "model.layers.{layer}.block_sparse_moe"
FUSED_GATE = Source(("model.layers.{layer}.mlp.gate.weight",), LINEAR)


def _read_more(config):
    return read_plain_rope(config, 1e6)


def _key_value_heads(config):
    # Where it is absent: not so many as there are for queries.
    null = "num_key_value_heads" in config
    return query_heads(config) if null else 8


MIXTRAL = CheckpointFormat(
    model_type="mixtral",
    class_name="MixtralForCausalLM",
    fixed={"hidden_act": "silu"},
    fields=(
        *DECODER_FIELDS,
        Field("num_key_value_heads", "num_key_value_heads", _key_value_heads),
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
        *decoder_rules(),
        router_rule(f"{SPARSE}.gate.weight", otherwise=(FUSED_GATE,)),
        *experts_rules(
            f"{SPARSE}.experts",
            gate="w1",
            up="w3",
            down="w2",
        ),
    ),
)
