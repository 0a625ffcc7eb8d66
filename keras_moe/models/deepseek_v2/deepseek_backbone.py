"""What DeepSeek's decoders share."""

from keras_moe.blocks.multi_head_latent_attention import (
    MultiHeadLatentAttention,
)
from keras_moe.blocks.yarn import get_yarn
from keras_moe.layers.shared_expert_moe import SharedExpertMoE
from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_parts import kernel_initializer
from keras_moe.models.decoder_parts import make_dense
from keras_moe.models.decoder_parts import make_sparse
from keras_moe.routing.expert_groups import ExpertGroups
from keras_moe.routing.validation import check_not_negative


class DeepSeekBackbone(DecoderBackbone):
    """Latent attention, and shared beside routed experts after dense layers.

    Not used by itself: a version says how its router chooses.

    Args:
        arguments: dict, the version's own constructor arguments.
        dtype: optional dtype policy or its name.

    Inputs: `token_ids`, int32 (B, L), and `padding_mask`, int32 or bool
    (B, L), 1 or True = real token.

    Outputs: float tensor of shape (B, L, H).
    """

    def __init__(self, arguments, dtype=None, **kwargs):
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

        def feed_forward(index):
            if index < arguments["num_dense_layers"]:
                return make_dense(arguments["dense_intermediate_dim"], dtype)
            return make_sparse(
                arguments,
                self.make_router(arguments),
                dtype,
                SharedExpertMoE,
                "shared_expert_moe",
                num_shared_experts=arguments["num_shared_experts"],
            )

        super().__init__(
            arguments, attention, feed_forward, dtype=dtype, **kwargs
        )

    def default_lora_layer_names(self):
        """Return the projections of latent attention, compressed or not."""
        return [
            "query",
            "query_down",
            "query_up",
            "key_value_down",
            "key_value_up",
        ]


def expert_groups(arguments, score):
    """Make the groups of experts that a token chooses among.

    Args:
        arguments: dict, the version's constructor arguments.
        score: str, as for `ExpertGroups`.

    Returns:
        `ExpertGroups`; `None` for one group, which rules nothing out.
    """
    if arguments["num_expert_groups"] == 1:
        return None
    return ExpertGroups(
        arguments["num_expert_groups"], arguments["num_limited_groups"], score
    )
