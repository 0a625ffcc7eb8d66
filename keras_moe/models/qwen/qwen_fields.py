"""What Qwen2-MoE and Qwen3-MoE configurations have in common."""

from keras_moe.checkpoints.checkpoint_format import DECODER_FIELDS
from keras_moe.checkpoints.checkpoint_format import Field

QWEN_FIELDS = (
    *DECODER_FIELDS,
    Field("num_key_value_heads", "num_key_value_heads"),
    Field("moe_intermediate_size", "intermediate_dim"),
    Field("num_experts_per_tok", "top_k"),
    Field("norm_topk_prob", "normalize_combine_weights", False),
    Field("decoder_sparse_step", "expert_layer_stride", 1),
    Field("mlp_only_layers", "dense_layers", []),
    Field("intermediate_size", "dense_intermediate_dim"),
    Field("rms_norm_eps", "layer_norm_epsilon", 1e-6),
    Field("tie_word_embeddings", "tie_embedding_weights", False),
)
