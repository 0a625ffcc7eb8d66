"""The Mixtral decoder without its head."""

import dataclasses

import keras

from keras_moe.models.decoder_backbone import DecoderArguments
from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.mixtral.mixtral_checkpoint import MIXTRAL
from keras_moe.models.mixtral.mixtral_keras_hub import MIXTRAL_OF_KERAS_HUB
from keras_moe.models.mixtral.mixtral_presets import MIXTRAL_PRESETS


@dataclasses.dataclass(kw_only=True)
class MixtralArguments(DecoderArguments):
    """The arguments of `MixtralBackbone`."""

    num_key_value_heads: int
    top_k: int = 2
    head_dim: int | None = None
    expert_layer_stride: int = 1
    dense_intermediate_dim: int | None = None
    sliding_window: int | None = None
    rope_max_wavelength: float = 1_000_000.0
    rope_scaling_factor: float = 1.0
    layer_norm_epsilon: float = 1e-5


@keras.saving.register_keras_serializable(package="keras_moe")
class MixtralBackbone(DecoderBackbone):
    """A decoder-only Transformer with sparse SwiGLU experts.

    Grouped-query attention with rotary positions, RMS norms before each
    part, and in every `expert_layer_stride`-th layer a `SparseMoE` in place
    of the feed-forward block (Jiang et al., 2024,
    https://arxiv.org/abs/2401.04088).
    """

    arguments_class = MixtralArguments
    checkpoint_format = MIXTRAL
    other_formats = (MIXTRAL_OF_KERAS_HUB,)
    published_presets = MIXTRAL_PRESETS
