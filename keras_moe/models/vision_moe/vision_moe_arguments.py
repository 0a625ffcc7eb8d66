"""What V-MoE's constructor is given."""

import dataclasses
from typing import Any

import keras

from keras_moe.models.backbone_arguments import Arguments
from keras_moe.models.backbone_arguments import argument
from keras_moe.routing.validation import check_not_negative
from keras_moe.routing.validation import check_positive


@dataclasses.dataclass(kw_only=True)
class VisionMoEArguments(Arguments):
    """The arguments of `VisionMoEBackbone`."""

    image_shape: tuple | list = argument(
        "list of ints (height, width, channels); height and width are "
        "multiples of `patch_size`."
    )
    patch_size: int = argument("int p, height and width of a patch in pixels.")
    num_layers: int
    num_heads: int = argument("int N, number of attention heads.")
    hidden_dim: int = argument("int H, a multiple of N.")
    intermediate_dim: int = argument(
        "int I, width of each expert and of the dense feed-forward layers."
    )
    num_experts: int
    top_k: int = 2
    expert_layer_stride: int = argument(
        "int n: layers n - 1, 2n - 1, ... are sparse, the others dense. 2 is "
        "the paper's Every-2.",
        2,
    )
    num_dense_layers: int = argument(
        "int, how many layers come before the first sparse one. "
        "`num_layers - 2 * n` with a stride of 2 is the paper's Last-n.",
        0,
    )
    dense_layers: tuple | list = argument(
        "list of ints, indices of more layers that are dense.", ()
    )
    routing_group: str = argument(
        '`"image"` or `"batch"`: which tokens compete for the experts\' slots. '
        'With `"batch"` the best tokens of all images go first, as in the '
        "paper, whose groups are 8 images or more, and an image's outputs "
        "depend on the others of its batch.",
        "image",
    )
    use_class_token: bool = argument(
        "bool, whether a learned token precedes the patches.", True
    )
    activation: Any = argument(
        "activation of experts and dense feed-forward layers.", "gelu"
    )
    dropout: float = argument(
        "float, after embedding, attention and feed-forward while training.",
        0.0,
    )
    layer_norm_epsilon: float = 1e-6
    router: Any = None
    dtype: Any = None

    num_decoder_layers = 0  # An encoder: its routers may see all tokens.

    def __post_init__(self):
        super().__post_init__()
        check_positive(num_heads=self.num_heads, patch_size=self.patch_size)
        check_not_negative(num_dense_layers=self.num_dense_layers)
        if self.hidden_dim % self.num_heads:
            raise ValueError(
                "Expected `hidden_dim` to be a multiple of `num_heads`. "
                f"Received: hidden_dim={self.hidden_dim}, "
                f"num_heads={self.num_heads}. Change one of them."
            )
        self.image_shape = list(self.image_shape)
        self.dense_layers = list(self.dense_layers)
        activation = keras.activations.get(self.activation)
        self.activation = keras.activations.serialize(activation)
