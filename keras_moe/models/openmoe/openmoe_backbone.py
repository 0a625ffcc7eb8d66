"""The OpenMoE decoder without its head."""

import keras

from keras_moe.balancing import LoadBalancingLoss
from keras_moe.balancing import RouterZLoss
from keras_moe.checkpoints.checkpoint_folder import shorten
from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_parts import is_sparse
from keras_moe.models.decoder_parts import make_attention
from keras_moe.models.decoder_parts import make_dense
from keras_moe.models.decoder_parts import make_sparse
from keras_moe.models.decoder_parts import make_top_k_router
from keras_moe.models.openmoe.openmoe_checkpoint import OPENMOE
from keras_moe.models.openmoe.openmoe_checkpoint import OWN_KEYS
from keras_moe.models.openmoe.openmoe_presets import OPENMOE_PRESETS
from keras_moe.ops.gated_activation import swiglu
from keras_moe.routing.combine_weights import CombineWeights
from keras_moe.routing.validation import check_positive


@keras.saving.register_keras_serializable(package="keras_moe")
class OpenMoEBackbone(DecoderBackbone):
    """A decoder-only ST-MoE: a dense block after each sparse one.

    Xue et al., 2024 (https://arxiv.org/abs/2402.01739) train ST-MoE
    (https://arxiv.org/abs/2202.08906) as a decoder. What sets it apart:

    - every `expert_layer_stride`-th layer has a `SparseMoE` in place of the
      feed-forward block, and a dense block with its own norm and residual
      after it;
    - the two chosen probabilities multiply the experts' outputs as they are,
      not divided by their sum (equation 2);
    - feed-forward blocks and experts have three branches,
      `(x W_1 * silu(x W_2)) * (x W_3)`, four matrices with the last one;
    - attention scores are not divided by `sqrt(D)`, and N D need not be H;
    - the first token is seen and routed whatever the padding mask says. The
      published sequences start with the padding token, which a mask made of
      the token ids would hide. It changes the results of real tokens where
      padding is on the left.

    At inference no token is dropped. The published code drops what exceeds
    a capacity factor of 2.0 over the whole batch, so that a text's result
    depends on its neighbours.

    Args:
        vocabulary_size: int V.
        num_layers: int.
        num_query_heads: int N.
        num_key_value_heads: int M, a divisor of N; published with N.
        hidden_dim: int H.
        intermediate_dim: int I, width of each branch, dense or expert.
        num_experts: int E.
        head_dim: int D.
        top_k: int K, experts per token.
        expert_layer_stride: int n: layers n - 1, 2n - 1, ... are sparse, the
            others dense.
        rope_max_wavelength: float.
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
    >>> from keras_moe.models.openmoe import OpenMoEBackbone
    >>> backbone = OpenMoEBackbone(
    ...     vocabulary_size=64, num_layers=2, num_query_heads=4,
    ...     num_key_value_heads=4, hidden_dim=16, intermediate_dim=32,
    ...     num_experts=4, head_dim=6, expert_layer_stride=2,
    ... )
    >>> token_ids = np.ones((1, 5), "int32")
    >>> outputs = backbone(
    ...     {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    ... )
    >>> tuple(outputs.shape)
    (1, 5, 16)
    """

    architecture = OPENMOE
    published_presets = OPENMOE_PRESETS

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_query_heads,
        num_key_value_heads,
        hidden_dim,
        intermediate_dim,
        num_experts,
        head_dim,
        top_k=2,
        expert_layer_stride=4,
        rope_max_wavelength=10_000.0,
        layer_norm_epsilon=1e-6,
        dropout=0.0,
        router=None,
        tie_embedding_weights=False,
        dtype=None,
        **kwargs,
    ):
        arguments = self.own_arguments(locals())
        check_positive(expert_layer_stride=expert_layer_stride)

        def attention(index):
            return make_attention(arguments, dtype, attention_scale=1.0)

        def dense(name):
            return make_dense(intermediate_dim, dtype, swiglu, name)

        def feed_forward(index):
            if not is_sparse(index, arguments):
                return dense("feed_forward")
            return make_sparse(
                arguments,
                self.make_router(arguments),
                dtype,
                activation=swiglu,
            )

        def extra_feed_forward(index):
            sparse = is_sparse(index, arguments)
            return dense("extra_feed_forward") if sparse else None

        super().__init__(
            arguments,
            attention,
            feed_forward,
            extra_feed_forward,
            keep_first_token=True,
            dtype=dtype,
            **kwargs,
        )

    @classmethod
    def architecture_of(cls, config):
        architecture = super().architecture_of(config)
        missing = [key for key in OWN_KEYS if config.get(key) is None]
        if missing:
            raise ValueError(
                "Expected a config.json of OpenMoE, whose model_type is "
                f"'llama' beside {', '.join(OWN_KEYS)}. Received: no "
                f"{shorten(missing)}. For a dense Llama, use "
                "`keras_hub.models.LlamaCausalLM`."
            )
        return architecture

    @classmethod
    def family_router(cls, arguments):
        return make_top_k_router(
            arguments,
            combine_weights=CombineWeights(normalize=False),
            balancing=[LoadBalancingLoss(0.01), RouterZLoss(0.0001)],
        )
