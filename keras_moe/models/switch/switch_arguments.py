"""What Switch's constructor is given."""

import dataclasses
from typing import Any

import keras

from keras_moe.models.backbone_arguments import BackboneArguments
from keras_moe.models.backbone_arguments import argument
from keras_moe.routing.validation import check_not_negative
from keras_moe.routing.validation import check_positive


@dataclasses.dataclass(kw_only=True)
class SwitchArguments(BackboneArguments):
    """The arguments of `SwitchBackbone`."""

    num_layers: int = argument("int, number of encoder blocks.")
    num_heads: int = argument("int N, number of attention heads.")
    intermediate_dim: int = argument(
        "int I, width of each expert and dense feed-forward."
    )
    num_experts: int = argument("int E, experts in each sparse block.")
    num_decoder_layers: int | None = argument(
        "int, number of decoder blocks; `None` means `num_layers`, 0 means an "
        "encoder only.",
        None,
    )
    key_value_dim: int | None = argument(
        "int D, width of each head; `None` means H / N.", None
    )
    expert_layer_stride: int = argument("int n, every n-th block is sparse.", 2)
    expert_layer_offset: int = argument(
        "int, the first sparse block; 1 in Switch, n - 1 in ST-MoE.", 1
    )
    num_dense_layers: int = argument(
        "int, how many blocks of each stack come before the first sparse one.",
        0,
    )
    dense_layers: tuple | list = argument(
        "list of ints, indices of more blocks that are dense, in both stacks.",
        (),
    )
    use_extra_feed_forward: bool = argument(
        "bool, whether a sparse block has a dense feed-forward layer after "
        "its experts, with a norm and a residual of its own; `True` in "
        "ST-MoE.",
        False,
    )
    top_k: int = argument(
        "int K, experts per token; 1 in Switch, 2 in ST-MoE, whose weights "
        "are then divided by their sum.",
        1,
    )
    activation: Any = argument(
        "activation of experts and dense feed-forward layers.", "relu"
    )
    use_gated_activation: bool = argument(
        'bool, gate them (GEGLU with "gelu").', False
    )
    relative_attention_buckets: int = argument(
        "int, buckets of the position bias.", 32
    )
    relative_attention_max_distance: int = argument(
        "int, distance in tokens from which all positions share one bucket.",
        128,
    )
    dropout: float = argument(
        "float, share of activations to drop in training.", 0.1
    )
    expert_dropout: float = argument(
        "float, share of the experts' outputs to drop in training (NLLB).",
        0.0,
    )
    tie_embedding_weights: bool = argument(
        "bool, whether the language model head shares the token embedding.",
        True,
    )

    def __post_init__(self):
        super().__post_init__()
        check_positive(num_heads=self.num_heads)
        check_not_negative(num_dense_layers=self.num_dense_layers)
        self.dense_layers = list(self.dense_layers)
        if self.num_decoder_layers is None:
            self.num_decoder_layers = self.num_layers
        if self.key_value_dim is None:
            self.key_value_dim = self.hidden_dim // self.num_heads
        activation = keras.activations.get(self.activation)
        self.activation = keras.activations.serialize(activation)
