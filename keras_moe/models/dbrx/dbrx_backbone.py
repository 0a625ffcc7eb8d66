"""The DBRX decoder without its head."""

import keras

from keras_moe.models.dbrx.dbrx_checkpoint import DBRX
from keras_moe.models.dbrx.dbrx_presets import DBRX_PRESETS
from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_parts import make_attention
from keras_moe.models.decoder_parts import make_sparse
from keras_moe.models.decoder_parts import make_top_k_router
from keras_moe.routing.combine_weights import CombineWeights


@keras.saving.register_keras_serializable(package="keras_moe")
class DbrxBackbone(DecoderBackbone):
    """A decoder-only Transformer with many small SwiGLU experts.

    Grouped-query attention with rotary positions whose queries, keys and
    values are clipped before they turn, layer norms without bias, and a
    `SparseMoE` in every layer: softmax over all experts, the K largest, over
    their p-norm (Databricks, 2024,
    https://www.databricks.com/blog/introducing-dbrx-new-state-art-open-llm,
    and the published `modeling_dbrx.py`).

    Args:
        vocabulary_size: int V.
        num_layers: int.
        num_query_heads: int N, a divisor of H.
        num_key_value_heads: int M, a divisor of N.
        hidden_dim: int H.
        intermediate_dim: int I, width of one expert, per branch.
        num_experts: int E.
        top_k: int K, experts per token.
        combine_weights_power: optional float p > 0: a token's K weights are
            divided by their p-norm, the published
            `moe_normalize_expert_weights`. `None` leaves them as they are.
        clip_query_key_value: optional float, largest magnitude of queries,
            keys and values, the published `clip_qkv`.
        rope_max_wavelength: float, the published `rope_theta`.
        layer_norm_epsilon: float; published files cannot say another.
        dropout: float, after attention and feed-forward while training.
        router: optional `keras_moe.layers.Router`, whose configuration each
            sparse layer's router takes, or a dict of arguments that change
            the model's own router, such as `{"balancing": None}`.
        dtype: optional dtype policy or its name.

    Inputs: `token_ids`, int32 (B, L), and `padding_mask`, int32 or bool
    (B, L), 1 or True = real token.

    Outputs: float tensor of shape (B, L, H).

    Raises:
        ValueError: If a size is not positive or sizes do not fit together.

    Example:

    >>> import numpy as np
    >>> from keras_moe.models.dbrx import DbrxBackbone
    >>> backbone = DbrxBackbone(
    ...     vocabulary_size=64, num_layers=2, num_query_heads=4,
    ...     num_key_value_heads=2, hidden_dim=16, intermediate_dim=32,
    ...     num_experts=8,
    ... )
    >>> token_ids = np.ones((1, 5), "int32")
    >>> outputs = backbone(
    ...     {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    ... )
    >>> tuple(outputs.shape)
    (1, 5, 16)
    """

    architecture = DBRX
    published_presets = DBRX_PRESETS

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_query_heads,
        num_key_value_heads,
        hidden_dim,
        intermediate_dim,
        num_experts,
        top_k=4,
        combine_weights_power=1.0,
        clip_query_key_value=8.0,
        rope_max_wavelength=500_000.0,
        layer_norm_epsilon=1e-5,
        dropout=0.0,
        router=None,
        dtype=None,
        **kwargs,
    ):
        arguments = self.own_arguments(locals())
        if combine_weights_power is not None and combine_weights_power <= 0:
            raise ValueError(
                "Expected `combine_weights_power` to be positive or None. "
                f"Received: combine_weights_power={combine_weights_power}"
            )

        def attention(index):
            return make_attention(
                arguments, dtype, clip_query_key_value=clip_query_key_value
            )

        def feed_forward(index):
            router = self.make_router(arguments)
            return make_sparse(arguments, router, dtype)

        super().__init__(
            arguments,
            attention,
            feed_forward,
            norm="layer_without_bias",
            dtype=dtype,
            **kwargs,
        )

    @classmethod
    def family_router(cls, arguments):
        return make_top_k_router(
            arguments,
            combine_weights=CombineWeights(
                normalize=arguments["combine_weights_power"] is not None,
                power=arguments["combine_weights_power"] or 1.0,
            ),
        )
