"""The Grok-1 decoder without its head."""

import keras

from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_parts import make_attention
from keras_moe.models.decoder_parts import make_sparse
from keras_moe.models.decoder_parts import make_top_k_router
from keras_moe.models.grok1.grok1_checkpoint import GROK1
from keras_moe.models.grok1.grok1_presets import GROK1_PRESETS
from keras_moe.models.grok1.tanh_gelu import tanh_gelu
from keras_moe.routing.combine_weights import CombineWeights


@keras.saving.register_keras_serializable(package="keras_moe")
class Grok1Backbone(DecoderBackbone):
    """A decoder-only Transformer with sparse GeGLU experts and four norms.

    Grouped-query attention with rotary positions and soft-capped scores, RMS
    norms before and after each part, and a `SparseMoE` in every layer whose
    combine weights are a float32 softmax over all experts, not divided by
    their sum (xAI, 2024, `model.py` of https://github.com/xai-org/grok-1).
    The norm after the experts takes a common factor of a token's weights out
    again, up to its epsilon, so code that does divide gives nearly the same.

    Args:
        vocabulary_size: int V.
        num_layers: int.
        num_query_heads: int N, a divisor of H.
        num_key_value_heads: int M, a divisor of N.
        hidden_dim: int H.
        intermediate_dim: int I, width of one expert, per branch.
        num_experts: int E.
        top_k: int K, experts per token.
        attention_scale: float, multiplies queries times keys, the published
            `attn_output_multiplier`: `1 / sqrt(128)`, the heads' width.
        attention_logit_soft_cap: optional float s: a scaled score x becomes
            `s * tanh(x / s)`; `None` leaves it as it is.
        embedding_multiplier: float, multiplies the embedded tokens:
            `sqrt(6144)`, the hidden width.
        output_multiplier: float, multiplies the logits: `1 / sqrt(3)`.
        rope_max_wavelength: float, the published `base_exponent`.
        layer_norm_epsilon: float.
        dropout: float, after attention and feed-forward while training.
        router: optional `keras_moe.layers.Router`, whose configuration each
            sparse layer's router takes, or a dict of arguments that change
            the model's own router, such as `{"balancing": None}`.
        tie_embedding_weights: bool, one matrix for embedding and head.
        dtype: optional dtype policy or its name.

    Inputs: `token_ids`, int32 (B, L), and `padding_mask`, int32 or bool
    (B, L), 1 or True = real token.

    Outputs: float tensor of shape (B, L, H).

    Raises:
        ValueError: If a size is not positive or sizes do not fit together.

    Example:

    >>> import numpy as np
    >>> from keras_moe.models.grok1 import Grok1Backbone
    >>> backbone = Grok1Backbone(
    ...     vocabulary_size=64, num_layers=2, num_query_heads=4,
    ...     num_key_value_heads=2, hidden_dim=16, intermediate_dim=32,
    ...     num_experts=4,
    ... )
    >>> token_ids = np.ones((1, 5), "int32")
    >>> outputs = backbone(
    ...     {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    ... )
    >>> tuple(outputs.shape)
    (1, 5, 16)
    """

    architecture = GROK1
    published_presets = GROK1_PRESETS

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_query_heads,
        num_key_value_heads,
        hidden_dim,
        intermediate_dim,
        num_experts,
        top_k=2,
        attention_scale=0.08838834764831845,
        attention_logit_soft_cap=30.0,
        embedding_multiplier=78.38367176906169,
        output_multiplier=0.5773502691896257,
        rope_max_wavelength=10_000.0,
        layer_norm_epsilon=1e-5,
        dropout=0.0,
        router=None,
        tie_embedding_weights=True,
        dtype=None,
        **kwargs,
    ):
        arguments = self.own_arguments(locals())

        def attention(index):
            return make_attention(
                arguments,
                dtype,
                attention_scale=attention_scale,
                soft_cap=attention_logit_soft_cap,
            )

        def feed_forward(index):
            return make_sparse(
                arguments,
                self.make_router(arguments),
                dtype,
                activation=tanh_gelu,
            )

        super().__init__(
            arguments,
            attention,
            feed_forward,
            sandwich_norms=True,
            embedding_multiplier=embedding_multiplier,
            output_multiplier=output_multiplier,
            dtype=dtype,
            **kwargs,
        )

    @classmethod
    def family_router(cls, arguments):
        return make_top_k_router(
            arguments,
            combine_weights=CombineWeights(normalize=False),
        )
