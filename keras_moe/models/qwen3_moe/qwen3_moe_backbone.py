"""The Qwen3-MoE decoder without its head."""

import keras

from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_parts import is_sparse
from keras_moe.models.decoder_parts import make_attention
from keras_moe.models.decoder_parts import make_dense
from keras_moe.models.decoder_parts import make_sparse
from keras_moe.models.decoder_parts import make_top_k_router
from keras_moe.models.qwen3_moe.qwen3_moe_checkpoint import QWEN3_MOE
from keras_moe.models.qwen3_moe.qwen3_moe_keras_hub import (
    QWEN3_MOE_OF_KERAS_HUB,
)
from keras_moe.models.qwen3_moe.qwen3_moe_presets import QWEN3_MOE_PRESETS
from keras_moe.routing.combine_weights import CombineWeights
from keras_moe.routing.validation import check_positive


@keras.saving.register_keras_serializable(package="keras_moe")
class Qwen3MoEBackbone(DecoderBackbone):
    """A decoder-only Transformer with many small experts.

    Grouped-query attention with an RMS norm on each head's query and key,
    RMS norms before each part, and routed experts alone, without a shared
    one (Yang et al., 2025, https://arxiv.org/abs/2505.09388, section 2).

    Args:
        vocabulary_size: int V.
        num_layers: int.
        num_query_heads: int N.
        num_key_value_heads: int M, a divisor of N.
        hidden_dim: int H.
        intermediate_dim: int I, width of one expert, per branch.
        num_experts: int E.
        top_k: int K, experts per token.
        head_dim: optional int D; `None` means H / N.
        normalize_combine_weights: bool, whether a token's K weights are
            divided by their sum.
        expert_layer_stride: int n: layers n - 1, 2n - 1, ... are sparse, the
            others dense. 1 makes every layer sparse.
        dense_layers: list of ints, indices of more layers that are dense.
        dense_intermediate_dim: optional int, width of the dense layers;
            `None` means `intermediate_dim`.
        use_attention_bias: bool, whether the attention's four projections
            have biases.
        sliding_window: optional int, how many tokens a query sees, itself
            included; `None` is all of them.
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
    >>> from keras_moe.models.qwen3_moe import Qwen3MoEBackbone
    >>> backbone = Qwen3MoEBackbone(
    ...     vocabulary_size=64, num_layers=2, num_query_heads=4,
    ...     num_key_value_heads=2, hidden_dim=16, intermediate_dim=8,
    ...     num_experts=16, head_dim=8,
    ... )
    >>> token_ids = np.ones((1, 5), "int32")
    >>> outputs = backbone(
    ...     {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    ... )
    >>> tuple(outputs.shape)
    (1, 5, 16)
    """

    architecture = QWEN3_MOE
    also_architectures = (QWEN3_MOE_OF_KERAS_HUB,)
    published_presets = QWEN3_MOE_PRESETS

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
        head_dim=None,
        normalize_combine_weights=True,
        expert_layer_stride=1,
        dense_layers=(),
        dense_intermediate_dim=None,
        use_attention_bias=False,
        sliding_window=None,
        rope_max_wavelength=1_000_000.0,
        layer_norm_epsilon=1e-6,
        dropout=0.0,
        router=None,
        tie_embedding_weights=False,
        dtype=None,
        **kwargs,
    ):
        arguments = self.own_arguments(locals())
        check_positive(expert_layer_stride=expert_layer_stride)
        # As `config.json` has them: a list, and a number in any case.
        arguments["dense_layers"] = list(dense_layers)
        dense_intermediate_dim = dense_intermediate_dim or intermediate_dim
        arguments["dense_intermediate_dim"] = dense_intermediate_dim

        def attention(index):
            return make_attention(
                arguments,
                dtype,
                sliding_window=sliding_window,
                use_query_key_value_bias=use_attention_bias,
                use_output_bias=use_attention_bias,
                query_key_norm="head",
                layer_norm_epsilon=layer_norm_epsilon,
            )

        def feed_forward(index):
            if not is_sparse(index, arguments):
                return make_dense(dense_intermediate_dim, dtype)
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
