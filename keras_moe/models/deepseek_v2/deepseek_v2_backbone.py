"""The DeepSeek-V2 decoder without its head."""

import keras

from keras_moe.balancing import LoadBalancingLoss
from keras_moe.models.decoder_parts import make_top_k_router
from keras_moe.models.deepseek_v2.deepseek_backbone import DeepSeekBackbone
from keras_moe.models.deepseek_v2.deepseek_backbone import expert_groups
from keras_moe.models.deepseek_v2.deepseek_v2_checkpoint import DEEPSEEK_V2
from keras_moe.models.deepseek_v2.deepseek_v2_presets import DEEPSEEK_V2_PRESETS
from keras_moe.routing.combine_weights import CombineWeights


@keras.saving.register_keras_serializable(package="keras_moe")
class DeepSeekV2Backbone(DeepSeekBackbone):
    """A decoder with latent attention and fine-grained experts.

    `MultiHeadLatentAttention`, whose cache is a short vector per token, and
    after `num_dense_layers` dense layers `SharedExpertMoE`: many small
    routed experts, of which a token meets K, beside shared ones that all
    tokens meet (DeepSeek-AI, 2024, https://arxiv.org/abs/2405.04434). The
    router is a softmax whose chosen probabilities are not normalized; with
    `num_expert_groups` a token chooses within the groups of its best experts
    (section 2.2.2). Of the paper's balancing losses there is the one over
    experts (equation 23), per batch instead of per sequence.

    Args:
        vocabulary_size: int V.
        num_layers: int.
        num_query_heads: int N.
        hidden_dim: int H.
        intermediate_dim: int I, width of one routed or shared expert, per
            branch.
        dense_intermediate_dim: int, width of the dense layers.
        num_experts: int E, routed experts.
        top_k: int K, routed experts per token.
        key_value_latent_dim: int, the published `kv_lora_rank`.
        nope_head_dim: int, features of a query or key without position.
        rope_head_dim: int, features with position.
        value_head_dim: int, features of a head's value.
        query_latent_dim: optional int, the published `q_lora_rank`.
        num_shared_experts: int.
        num_dense_layers: int, how many layers come before the first sparse
            one.
        num_expert_groups: int, a divisor of E; 1 is a free choice.
        num_limited_groups: int, how many groups a token chooses within.
        route_scale: float, multiplies the routed experts' weights.
        rope_max_wavelength: float, the published `rope_theta`.
        yarn: optional `keras_moe.blocks.Yarn` or a dict of its fields.
        use_attention_bias: bool.
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
    >>> backbone = DeepSeekV2Backbone(
    ...     vocabulary_size=64, num_layers=2, num_query_heads=4,
    ...     hidden_dim=16, intermediate_dim=8, dense_intermediate_dim=32,
    ...     num_experts=8, top_k=2, key_value_latent_dim=8, nope_head_dim=4,
    ...     rope_head_dim=2, value_head_dim=4,
    ... )
    >>> token_ids = np.ones((1, 5), "int32")
    >>> outputs = backbone(
    ...     {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    ... )
    >>> tuple(outputs.shape)
    (1, 5, 16)
    """

    architecture = DEEPSEEK_V2
    published_presets = DEEPSEEK_V2_PRESETS

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_query_heads,
        hidden_dim,
        intermediate_dim,
        dense_intermediate_dim,
        num_experts,
        top_k,
        key_value_latent_dim,
        nope_head_dim,
        rope_head_dim,
        value_head_dim,
        query_latent_dim=None,
        num_shared_experts=2,
        num_dense_layers=1,
        num_expert_groups=1,
        num_limited_groups=1,
        route_scale=1.0,
        rope_max_wavelength=10_000.0,
        yarn=None,
        use_attention_bias=False,
        layer_norm_epsilon=1e-6,
        dropout=0.0,
        router=None,
        tie_embedding_weights=False,
        dtype=None,
        **kwargs,
    ):
        arguments = self.own_arguments(locals())
        super().__init__(arguments, dtype, **kwargs)

    @classmethod
    def family_router(cls, arguments):
        return make_top_k_router(
            arguments,
            combine_weights=CombineWeights(
                normalize=False, scale=arguments["route_scale"]
            ),
            expert_groups=expert_groups(arguments, "max"),
            balancing=LoadBalancingLoss(0.003),
        )
