"""OLMoE's files: allenai/OLMoE-1B-7B-0924 and its relatives."""

from keras_moe.checkpoints.checkpoint_format import DECODER_FIELDS
from keras_moe.checkpoints.checkpoint_format import CheckpointFormat
from keras_moe.checkpoints.checkpoint_format import Field
from keras_moe.checkpoints.checkpoint_format import query_heads
from keras_moe.checkpoints.decoder_rules import decoder_rules
from keras_moe.checkpoints.decoder_rules import experts_rules
from keras_moe.checkpoints.decoder_rules import router_rule
from keras_moe.checkpoints.rope_config import read_plain_rope
from keras_moe.checkpoints.rope_config import write_plain_rope

OLMOE = CheckpointFormat(
    model_type="olmoe",
    class_name="OlmoeForCausalLM",
    fixed={"hidden_act": "silu"},
    fields=(
        *DECODER_FIELDS,
        Field("num_key_value_heads", "num_key_value_heads", query_heads),
        Field("intermediate_size", "intermediate_dim"),
        Field("num_experts", "num_experts"),
        Field("num_experts_per_tok", "top_k"),
        Field("norm_topk_prob", "normalize_combine_weights", False),
        Field("attention_bias", "use_attention_bias", False),
        Field("clip_qkv", "clip_query_key_value", None),
        Field("rms_norm_eps", "layer_norm_epsilon", 1e-5),
        Field("tie_word_embeddings", "tie_embedding_weights", False),
    ),
    read_more=read_plain_rope,
    write_more=write_plain_rope,
    rules=(
        *decoder_rules(),
        router_rule(),
        *experts_rules(),
    ),
)
