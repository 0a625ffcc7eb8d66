"""The Mixtral decoder without its head."""

import keras

from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_parts import is_sparse
from keras_moe.models.decoder_parts import make_attention
from keras_moe.models.decoder_parts import make_dense
from keras_moe.models.decoder_parts import make_sparse
from keras_moe.models.mixtral.mixtral_checkpoint import MIXTRAL
from keras_moe.models.mixtral.mixtral_keras_hub import MIXTRAL_OF_KERAS_HUB
from keras_moe.models.mixtral.mixtral_presets import MIXTRAL_PRESETS
from keras_moe.routing.validation import check_positive


@keras.saving.register_keras_serializable(package="keras_moe")
class MixtralBackbone(DecoderBackbone):
    """A decoder-only Transformer with sparse SwiGLU experts.

    Grouped-query attention with rotary positions, RMS norms before each
    part, and in every `expert_layer_stride`-th layer a `SparseMoE` in place
    of the feed-forward block (Jiang et al., 2024,
    https://arxiv.org/abs/2401.04088).

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
        expert_layer_stride: int n: layers n - 1, 2n - 1, ... are sparse, the
            others dense. 1 makes every layer sparse.
        dense_intermediate_dim: optional int, width of the dense layers;
            `None` means `intermediate_dim`.
        sliding_window: optional int, how many tokens a query sees, itself
            included; `None` is all of them.
        rope_max_wavelength: float, the published `rope_theta`.
        rope_scaling_factor: float, divides the positions.
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
    >>> from keras_moe.models import MixtralBackbone
    >>> backbone = MixtralBackbone(
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

    architecture = MIXTRAL
    also_architectures = (MIXTRAL_OF_KERAS_HUB,)
    published_presets = MIXTRAL_PRESETS

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
        head_dim=None,
        expert_layer_stride=1,
        dense_intermediate_dim=None,
        sliding_window=None,
        rope_max_wavelength=1_000_000.0,
        rope_scaling_factor=1.0,
        layer_norm_epsilon=1e-5,
        dropout=0.0,
        router=None,
        tie_embedding_weights=False,
        dtype=None,
        **kwargs,
    ):
        arguments = self.own_arguments(locals())
        check_positive(expert_layer_stride=expert_layer_stride)

        def attention(index):
            return make_attention(
                arguments,
                dtype,
                sliding_window=sliding_window,
                rope_scaling_factor=rope_scaling_factor,
            )

        def feed_forward(index):
            if is_sparse(index, arguments):
                router = self.make_router(arguments)
                return make_sparse(arguments, router, dtype)
            return make_dense(dense_intermediate_dim or intermediate_dim, dtype)

        super().__init__(
            arguments, attention, feed_forward, dtype=dtype, **kwargs
        )
