"""The OLMoE decoder without its head."""

import dataclasses

import keras

from keras_moe.models.decoder_backbone import DecoderArguments
from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_parts import make_attention
from keras_moe.models.olmoe.olmoe_checkpoint import OLMOE
from keras_moe.models.olmoe.olmoe_presets import OLMOE_PRESETS


@dataclasses.dataclass(kw_only=True)
class OLMoEArguments(DecoderArguments):
    """The arguments of `OLMoEBackbone`."""

    num_key_value_heads: int
    top_k: int = 8
    normalize_combine_weights: bool = False
    clip_query_key_value: float | None = None
    use_attention_bias: bool = False
    layer_norm_epsilon: float = 1e-5


@keras.saving.register_keras_serializable(package="keras_moe")
class OLMoEBackbone(DecoderBackbone):
    """A decoder-only Transformer with many small experts.

    Attention with an RMS norm over all heads' queries and keys together, RMS
    norms before each part, and small routed experts whose weights are not
    normalized (Muennighoff et al., 2024, https://arxiv.org/abs/2409.02060,
    section 2 and table 1).
    """

    arguments_class = OLMoEArguments
    checkpoint_format = OLMOE
    published_presets = OLMOE_PRESETS

    @classmethod
    def make_attention(cls, arguments, index):
        return make_attention(arguments, query_key_norm="projection")
