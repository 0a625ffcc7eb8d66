"""The Grok-1 decoder without its head."""

import dataclasses

import keras

from keras_moe.models.backbone_arguments import argument
from keras_moe.models.decoder_backbone import DecoderArguments
from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_parts import make_attention
from keras_moe.models.decoder_parts import make_top_k_router
from keras_moe.models.grok1.grok1_checkpoint import GROK1
from keras_moe.models.grok1.grok1_presets import GROK1_PRESETS
from keras_moe.models.grok1.tanh_gelu import tanh_gelu
from keras_moe.routing.combine_weights import CombineWeights


@dataclasses.dataclass(kw_only=True)
class Grok1Arguments(DecoderArguments):
    """The arguments of `Grok1Backbone`."""

    num_key_value_heads: int
    top_k: int = 2
    attention_scale: float = argument(
        "float, multiplies queries times keys, the published "
        "`attn_output_multiplier`: `1 / sqrt(128)`, the heads' width.",
        0.08838834764831845,
    )
    attention_logit_soft_cap: float | None = 30.0
    embedding_multiplier: float = argument(
        "float, multiplies the embedded tokens: `sqrt(6144)`, the hidden "
        "width.",
        78.38367176906169,
    )
    output_multiplier: float = argument(
        "float, multiplies the logits: `1 / sqrt(3)`.", 0.5773502691896257
    )
    rope_max_wavelength: float = argument(
        "float, the published `base_exponent`.", 10_000.0
    )
    layer_norm_epsilon: float = 1e-5
    tie_embedding_weights: bool = True


@keras.saving.register_keras_serializable(package="keras_moe")
class Grok1Backbone(DecoderBackbone):
    """A decoder-only Transformer with sparse GeGLU experts and four norms.

    Grouped-query attention with rotary positions and soft-capped scores, RMS
    norms before and after each part, and a `SparseMoE` in every layer whose
    combine weights are a float32 softmax over all experts, not divided by
    their sum (xAI, 2024, `model.py` of https://github.com/xai-org/grok-1).
    The norm after the experts takes a common factor of a token's weights out
    again, up to its epsilon, so code that does divide gives nearly the same.
    """

    arguments_class = Grok1Arguments
    checkpoint_format = GROK1
    published_presets = GROK1_PRESETS
    sandwich_norms = True
    activation = staticmethod(tanh_gelu)

    @classmethod
    def make_attention(cls, arguments, index):
        return make_attention(
            arguments,
            attention_scale=arguments.attention_scale,
            soft_cap=arguments.attention_logit_soft_cap,
        )

    @classmethod
    def family_router(cls, arguments):
        return make_top_k_router(
            arguments, combine_weights=CombineWeights(normalize=False)
        )
