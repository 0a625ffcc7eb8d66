"""What DeepSeek's decoders share."""

import dataclasses
from typing import Any

from keras_moe.blocks.multi_head_latent_attention import (
    MultiHeadLatentAttention,
)
from keras_moe.blocks.yarn import get_yarn
from keras_moe.models.backbone_arguments import argument
from keras_moe.models.decoder_backbone import DecoderArguments
from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_parts import kernel_initializer
from keras_moe.models.decoder_parts import make_dense
from keras_moe.models.decoder_parts import make_shared_expert
from keras_moe.routing.expert_groups import ExpertGroups
from keras_moe.routing.validation import check_not_negative


@dataclasses.dataclass(kw_only=True)
class DeepSeekArguments(DecoderArguments):
    """The arguments that all versions have."""

    intermediate_dim: int = argument(
        "int I, width of one routed or shared expert, per branch."
    )
    dense_intermediate_dim: int = argument("int, width of the dense layers.")
    num_experts: int = argument("int E, routed experts.")
    top_k: int = argument("int K, routed experts per token.")
    key_value_latent_dim: int = argument("int, the published `kv_lora_rank`.")
    nope_head_dim: int = argument(
        "int, features of a query or key without position."
    )
    rope_head_dim: int = argument("int, features with position.")
    value_head_dim: int = argument("int, features of a head's value.")
    query_latent_dim: int | None = argument(
        "optional int, the published `q_lora_rank`.", None
    )
    num_shared_experts: int = argument("int.", 1)
    num_dense_layers: int = 1
    num_expert_groups: int = argument(
        "int, a divisor of E; 1 is a free choice.", 1
    )
    num_limited_groups: int = argument(
        "int, how many groups a token chooses within.", 1
    )
    route_scale: float = argument(
        "float, multiplies the routed experts' weights.", 1.0
    )
    yarn: Any = argument(
        "optional `keras_moe.blocks.Yarn` or a dict of its fields.", None
    )
    use_attention_bias: bool = argument("bool.", False)

    def __post_init__(self):
        super().__post_init__()
        check_not_negative(num_dense_layers=self.num_dense_layers)
        # All fields, whether given or not: what is written is what is read.
        yarn = get_yarn(self.yarn)
        self.yarn = None if yarn is None else yarn._asdict()


class DeepSeekBackbone(DecoderBackbone):
    """Latent attention, and shared beside routed experts after dense layers.

    Not used by itself: a version says how its router chooses.
    """

    @classmethod
    def make_attention(cls, arguments, index):
        return MultiHeadLatentAttention(
            arguments.num_query_heads,
            arguments.key_value_latent_dim,
            arguments.nope_head_dim,
            arguments.rope_head_dim,
            arguments.value_head_dim,
            arguments.query_latent_dim,
            rope_max_wavelength=arguments.rope_max_wavelength,
            yarn=arguments.yarn,
            rope_interleaved=getattr(arguments, "rope_interleaved", True),
            use_bias=arguments.use_attention_bias,
            kernel_initializer=kernel_initializer(),
            dtype=arguments.dtype,
            name="attention",
        )

    @classmethod
    def make_feed_forward(cls, arguments, index):
        if not arguments.is_sparse(index):
            return make_dense(arguments)
        return make_shared_expert(
            arguments,
            cls.make_router(arguments),
            num_shared_experts=arguments.num_shared_experts,
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
        arguments: `DeepSeekArguments`.
        score: str, as for `ExpertGroups`.

    Returns:
        `ExpertGroups`; `None` for one group, which rules nothing out.
    """
    if arguments.num_expert_groups == 1:
        return None
    return ExpertGroups(
        arguments.num_expert_groups, arguments.num_limited_groups, score
    )
