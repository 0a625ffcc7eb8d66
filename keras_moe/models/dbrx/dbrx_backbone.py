"""The DBRX decoder without its head."""

import dataclasses

import keras

from keras_moe.models.backbone_arguments import argument
from keras_moe.models.dbrx.dbrx_checkpoint import DBRX
from keras_moe.models.dbrx.dbrx_presets import DBRX_PRESETS
from keras_moe.models.decoder_backbone import DecoderArguments
from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.decoder_parts import make_top_k_router
from keras_moe.routing.combine_weights import CombineWeights


@dataclasses.dataclass(kw_only=True)
class DbrxArguments(DecoderArguments):
    """The arguments of `DbrxBackbone`."""

    num_key_value_heads: int
    top_k: int = 4
    combine_weights_power: float | None = argument(
        "optional float p > 0: a token's K weights are divided by their "
        "p-norm, the published `moe_normalize_expert_weights`. `None` leaves "
        "them as they are.",
        1.0,
    )
    clip_query_key_value: float | None = 8.0
    rope_max_wavelength: float = 500_000.0
    layer_norm_epsilon: float = argument(
        "float; published files cannot say another.", 1e-5
    )

    def __post_init__(self):
        super().__post_init__()
        power = self.combine_weights_power
        if power is not None and power <= 0:
            raise ValueError(
                "Expected `combine_weights_power` to be positive or None. "
                f"Received: combine_weights_power={power}"
            )


@keras.saving.register_keras_serializable(package="keras_moe")
class DbrxBackbone(DecoderBackbone):
    """A decoder-only Transformer with many small SwiGLU experts.

    Grouped-query attention with rotary positions whose queries, keys and
    values are clipped before they turn, layer norms without bias, and a
    `SparseMoE` in every layer: softmax over all experts, the K largest, over
    their p-norm (Databricks, 2024,
    https://www.databricks.com/blog/introducing-dbrx-new-state-art-open-llm,
    and the published `modeling_dbrx.py`).
    """

    arguments_class = DbrxArguments
    checkpoint_format = DBRX
    published_presets = DBRX_PRESETS
    norm = "layer_without_bias"

    @classmethod
    def family_router(cls, arguments):
        power = arguments.combine_weights_power
        return make_top_k_router(
            arguments,
            combine_weights=CombineWeights(
                normalize=power is not None, power=power or 1.0
            ),
        )
