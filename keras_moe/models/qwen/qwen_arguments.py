"""What the arguments of Qwen2-MoE and Qwen3-MoE have in common."""

import dataclasses

from keras_moe.models.decoder_backbone import DecoderArguments


@dataclasses.dataclass(kw_only=True)
class QwenArguments(DecoderArguments):
    """The arguments that both have."""

    num_key_value_heads: int
    expert_layer_stride: int = 1
    dense_layers: tuple | list = ()
    dense_intermediate_dim: int | None = None
    rope_max_wavelength: float = 1_000_000.0

    def __post_init__(self):
        super().__post_init__()
        # As `config.json` has them: a list, and a number in any case.
        self.dense_layers = list(self.dense_layers)
        self.dense_intermediate_dim = (
            self.dense_intermediate_dim or self.intermediate_dim
        )
