"""What DeepSeek's decoders share."""

from keras_moe.blocks.multi_head_latent_attention import (
    MultiHeadLatentAttention,
)
from keras_moe.blocks.yarn import get_yarn
from keras_moe.layers.feed_forward import FeedForward
from keras_moe.layers.shared_expert_moe import SharedExpertMoE
from keras_moe.layers.top_k_router import TopKRouter
from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_backbone import kernel_initializer
from keras_moe.routing.validation import check_not_negative


class DeepSeekBackbone(DecoderBackbone):
    """Latent attention, and shared beside routed experts after dense layers.

    Not used by itself: a version says how its router chooses.

    Args:
        arguments: dict, the version's own constructor arguments.
        routing: dict, arguments of `TopKRouter` that make the version.
        dtype: optional dtype policy or its name.

    Inputs: `token_ids`, int32 (B, L), and `padding_mask`, int32 or bool
    (B, L), 1 or True = real token.

    Outputs: float tensor of shape (B, L, H).
    """

    def __init__(self, arguments, routing, dtype=None, **kwargs):
        check_not_negative(num_dense_layers=arguments["num_dense_layers"])
        # All fields, whether given or not: what is written is what is read.
        yarn = get_yarn(arguments["yarn"])
        yarn = None if yarn is None else yarn._asdict()
        arguments = {**arguments, "yarn": yarn}

        def attention(index):
            return MultiHeadLatentAttention(
                arguments["num_query_heads"],
                arguments["key_value_latent_dim"],
                arguments["nope_head_dim"],
                arguments["rope_head_dim"],
                arguments["value_head_dim"],
                arguments["query_latent_dim"],
                rope_max_wavelength=arguments["rope_max_wavelength"],
                yarn=yarn,
                rope_interleaved=arguments.get("rope_interleaved", True),
                use_bias=arguments["use_attention_bias"],
                kernel_initializer=kernel_initializer(),
                dtype=dtype,
                name="attention",
            )

        def dense_feed_forward():
            return FeedForward(
                arguments["dense_intermediate_dim"],
                kernel_initializer=kernel_initializer(),
                dtype=dtype,
                name="feed_forward",
            )

        def sparse_feed_forward():
            router = TopKRouter(
                arguments["num_experts"],
                arguments["top_k"],
                route_scale=arguments["route_scale"],
                **_groups(arguments),
                **routing,
                jitter_noise=arguments["jitter_noise"],
                load_balancing_loss_weight=arguments[
                    "load_balancing_loss_weight"
                ],
                router_z_loss_weight=arguments["router_z_loss_weight"],
                kernel_initializer=kernel_initializer(),
                name="router",
            )
            return SharedExpertMoE(
                arguments["num_experts"],
                arguments["intermediate_dim"],
                arguments["top_k"],
                num_shared_experts=arguments["num_shared_experts"],
                router=router,
                capacity_factor=arguments["capacity_factor"],
                eval_capacity_factor=arguments["eval_capacity_factor"],
                kernel_initializer=kernel_initializer(),
                dtype=dtype,
                name="shared_expert_moe",
            )

        def feed_forward(index):
            dense = index < arguments["num_dense_layers"]
            return dense_feed_forward() if dense else sparse_feed_forward()

        super().__init__(
            arguments, attention, feed_forward, dtype=dtype, **kwargs
        )


def _groups(arguments):
    if arguments["num_expert_groups"] == 1:
        return {}  # One group rules nothing out.
    return {
        "num_expert_groups": arguments["num_expert_groups"],
        "num_limited_groups": arguments["num_limited_groups"],
    }
