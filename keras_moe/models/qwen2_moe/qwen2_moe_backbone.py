"""The Qwen2-MoE decoder without its head."""

import dataclasses

import keras

from keras_moe.models.backbone_arguments import argument
from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_parts import make_attention
from keras_moe.models.decoder_parts import make_dense
from keras_moe.models.decoder_parts import make_shared_expert
from keras_moe.models.qwen.qwen_arguments import QwenArguments
from keras_moe.models.qwen2_moe.qwen2_moe_checkpoint import QWEN2_MOE
from keras_moe.models.qwen2_moe.qwen2_moe_keras_hub import (
    QWEN2_MOE_OF_KERAS_HUB,
)
from keras_moe.models.qwen2_moe.qwen2_moe_presets import QWEN2_MOE_PRESETS


@dataclasses.dataclass(kw_only=True)
class Qwen2MoEArguments(QwenArguments):
    """The arguments of `Qwen2MoEBackbone`."""

    shared_intermediate_dim: int = argument("int, width of the shared expert.")
    top_k: int = 4
    normalize_combine_weights: bool = False
    use_query_key_value_bias: bool = argument(
        "bool, whether queries, keys and values have biases.", True
    )


@keras.saving.register_keras_serializable(package="keras_moe")
class Qwen2MoEBackbone(DecoderBackbone):
    """A decoder-only Transformer with routed experts and a gated shared one.

    Grouped-query attention with biases on queries, keys and values, RMS
    norms before each part, and beside the routed experts one that every
    token sees, multiplied by `sigmoid(x w)` (Yang et al., 2024,
    https://arxiv.org/abs/2407.10671, section 2.2.2). Also Qwen1.5-MoE.
    """

    arguments_class = Qwen2MoEArguments
    checkpoint_format = QWEN2_MOE
    other_formats = (QWEN2_MOE_OF_KERAS_HUB,)
    published_presets = QWEN2_MOE_PRESETS

    @classmethod
    def make_attention(cls, arguments, index):
        return make_attention(
            arguments,
            use_query_key_value_bias=arguments.use_query_key_value_bias,
        )

    @classmethod
    def make_feed_forward(cls, arguments, index):
        if not arguments.is_sparse(index):
            return make_dense(arguments)
        return make_shared_expert(
            arguments,
            cls.make_router(arguments),
            shared_intermediate_dim=arguments.shared_intermediate_dim,
            use_shared_expert_gate=True,
        )
