"""The Qwen2-MoE decoder without its head."""

import keras

from keras_moe.layers.shared_expert_moe import SharedExpertMoE
from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_parts import is_sparse
from keras_moe.models.decoder_parts import make_attention
from keras_moe.models.decoder_parts import make_dense
from keras_moe.models.decoder_parts import make_sparse
from keras_moe.models.decoder_parts import make_top_k_router
from keras_moe.models.qwen2_moe.qwen2_moe_checkpoint import QWEN2_MOE
from keras_moe.models.qwen2_moe.qwen2_moe_keras_hub import (
    QWEN2_MOE_OF_KERAS_HUB,
)
from keras_moe.models.qwen2_moe.qwen2_moe_presets import QWEN2_MOE_PRESETS
from keras_moe.routing.combine_weights import CombineWeights
from keras_moe.routing.validation import check_positive


@keras.saving.register_keras_serializable(package="keras_moe")
class Qwen2MoEBackbone(DecoderBackbone):
    """A decoder-only Transformer with routed experts and a gated shared one.

    Grouped-query attention with biases on queries, keys and values, RMS
    norms before each part, and beside the routed experts one that every
    token sees, multiplied by `sigmoid(x w)` (Yang et al., 2024,
    https://arxiv.org/abs/2407.10671, section 2.2.2). Also Qwen1.5-MoE.

    Args:
        vocabulary_size: int V.
        num_layers: int.
        num_query_heads: int N.
        num_key_value_heads: int M, a divisor of N.
        hidden_dim: int H, a multiple of N.
        intermediate_dim: int I, width of one routed expert, per branch.
        shared_intermediate_dim: int, width of the shared expert.
        num_experts: int E, routed experts.
        top_k: int K, routed experts per token.
        normalize_combine_weights: bool, whether a token's K weights are
            divided by their sum.
        expert_layer_stride: int n: layers n - 1, 2n - 1, ... are sparse, the
            others dense. 1 makes every layer sparse.
        dense_layers: list of ints, indices of more layers that are dense.
        dense_intermediate_dim: optional int, width of the dense layers;
            `None` means `intermediate_dim`.
        use_query_key_value_bias: bool, whether queries, keys and values have
            biases.
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
    >>> from keras_moe.models.qwen2_moe import Qwen2MoEBackbone
    >>> backbone = Qwen2MoEBackbone(
    ...     vocabulary_size=64, num_layers=2, num_query_heads=4,
    ...     num_key_value_heads=2, hidden_dim=16, intermediate_dim=8,
    ...     shared_intermediate_dim=32, num_experts=8, top_k=4,
    ... )
    >>> token_ids = np.ones((1, 5), "int32")
    >>> outputs = backbone(
    ...     {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    ... )
    >>> tuple(outputs.shape)
    (1, 5, 16)
    """

    architecture = QWEN2_MOE
    also_architectures = (QWEN2_MOE_OF_KERAS_HUB,)
    published_presets = QWEN2_MOE_PRESETS

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_query_heads,
        num_key_value_heads,
        hidden_dim,
        intermediate_dim,
        shared_intermediate_dim,
        num_experts,
        top_k=4,
        normalize_combine_weights=False,
        expert_layer_stride=1,
        dense_layers=(),
        dense_intermediate_dim=None,
        use_query_key_value_bias=True,
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
                use_query_key_value_bias=use_query_key_value_bias,
            )

        def feed_forward(index):
            if not is_sparse(index, arguments):
                return make_dense(dense_intermediate_dim, dtype)
            return make_sparse(
                arguments,
                self.make_router(arguments),
                dtype,
                SharedExpertMoE,
                "shared_expert_moe",
                shared_intermediate_dim=shared_intermediate_dim,
                use_shared_expert_gate=True,
            )

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
