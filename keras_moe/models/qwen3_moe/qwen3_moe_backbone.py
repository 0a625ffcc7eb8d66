"""The Qwen3-MoE decoder without its head."""

import dataclasses

import keras

from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_parts import make_attention
from keras_moe.models.qwen.qwen_arguments import QwenArguments
from keras_moe.models.qwen3_moe.qwen3_moe_checkpoint import QWEN3_MOE
from keras_moe.models.qwen3_moe.qwen3_moe_keras_hub import (
    QWEN3_MOE_OF_KERAS_HUB,
)
from keras_moe.models.qwen3_moe.qwen3_moe_presets import QWEN3_MOE_PRESETS


@dataclasses.dataclass(kw_only=True)
class Qwen3MoEArguments(QwenArguments):
    """The arguments of `Qwen3MoEBackbone`."""

    top_k: int = 8
    head_dim: int | None = None
    normalize_combine_weights: bool = True
    use_attention_bias: bool = False
    sliding_window: int | None = None


@keras.saving.register_keras_serializable(package="keras_moe")
class Qwen3MoEBackbone(DecoderBackbone):
    """A decoder-only Transformer with many small experts.

    Grouped-query attention with an RMS norm on each head's query and key,
    RMS norms before each part, and routed experts alone, without a shared
    one (Yang et al., 2025, https://arxiv.org/abs/2505.09388, section 2).
    """

    arguments_class = Qwen3MoEArguments
    checkpoint_format = QWEN3_MOE
    other_formats = (QWEN3_MOE_OF_KERAS_HUB,)
    published_presets = QWEN3_MOE_PRESETS

    @classmethod
    def make_attention(cls, arguments, index):
        return make_attention(arguments, query_key_norm="head")
