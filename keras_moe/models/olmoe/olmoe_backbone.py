"""The OLMoE decoder without its head."""

import keras

from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_parts import make_attention
from keras_moe.models.decoder_parts import make_sparse
from keras_moe.models.decoder_parts import make_top_k_router
from keras_moe.models.olmoe.olmoe_checkpoint import OLMOE
from keras_moe.models.olmoe.olmoe_presets import OLMOE_PRESETS
from keras_moe.routing.combine_weights import CombineWeights


@keras.saving.register_keras_serializable(package="keras_moe")
class OLMoEBackbone(DecoderBackbone):
    """A decoder-only Transformer with many small experts.

    Attention with an RMS norm over all heads' queries and keys together, RMS
    norms before each part, and small routed experts whose weights are not
    normalized (Muennighoff et al., 2024, https://arxiv.org/abs/2409.02060,
    section 2 and table 1).

    Args:
        vocabulary_size: int V.
        num_layers: int.
        num_query_heads: int N.
        num_key_value_heads: int M, a divisor of N.
        hidden_dim: int H, a multiple of N.
        intermediate_dim: int I, width of one expert, per branch.
        num_experts: int E.
        top_k: int K, experts per token.
        normalize_combine_weights: bool, whether a token's K weights are
            divided by their sum.
        clip_query_key_value: optional float, largest magnitude of queries,
            keys and values, after the norm.
        use_attention_bias: bool, whether the attention's four projections
            have biases.
        rope_max_wavelength: float, the published `rope_theta`.
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
    >>> from keras_moe.models.olmoe import OLMoEBackbone
    >>> backbone = OLMoEBackbone(
    ...     vocabulary_size=64, num_layers=2, num_query_heads=4,
    ...     num_key_value_heads=2, hidden_dim=16, intermediate_dim=8,
    ...     num_experts=16,
    ... )
    >>> token_ids = np.ones((1, 5), "int32")
    >>> outputs = backbone(
    ...     {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    ... )
    >>> tuple(outputs.shape)
    (1, 5, 16)
    """

    architecture = OLMOE
    published_presets = OLMOE_PRESETS

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_query_heads,
        num_key_value_heads,
        hidden_dim,
        intermediate_dim,
        num_experts,
        top_k=8,
        normalize_combine_weights=False,
        clip_query_key_value=None,
        use_attention_bias=False,
        rope_max_wavelength=10_000.0,
        layer_norm_epsilon=1e-5,
        dropout=0.0,
        router=None,
        tie_embedding_weights=False,
        dtype=None,
        **kwargs,
    ):
        arguments = self.own_arguments(locals())

        def attention(index):
            return make_attention(
                arguments,
                dtype,
                use_query_key_value_bias=use_attention_bias,
                use_output_bias=use_attention_bias,
                query_key_norm="projection",
                layer_norm_epsilon=layer_norm_epsilon,
                clip_query_key_value=clip_query_key_value,
            )

        def feed_forward(index):
            router = self.make_router(arguments)
            return make_sparse(arguments, router, dtype)

        super().__init__(
            arguments, attention, feed_forward, dtype=dtype, **kwargs
        )

    @classmethod
    def family_router(cls, arguments):
        return make_top_k_router(
            arguments,
            combine_weights=CombineWeights(
                normalize=arguments["normalize_combine_weights"]
            ),
        )
