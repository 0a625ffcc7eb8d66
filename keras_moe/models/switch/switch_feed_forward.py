"""Which feed-forward layer a block of the Switch Transformer gets."""

import keras

from keras_moe.layers import FeedForward
from keras_moe.layers import SparseMoE


def create_feed_forward(arguments, router=None):
    """Create the dense or sparse feed-forward layer of one block.

    Kernels start with a standard deviation of fan_in ** -0.5
    (https://arxiv.org/abs/2101.03961, section 2.4, with scale 1).

    Args:
        arguments: `SwitchArguments`.
        router: optional `Router`, not built; `None` for a dense layer.

    Returns:
        `FeedForward` or `SparseMoE`.
    """
    shared = {
        "activation": arguments.activation,
        "gated": arguments.use_gated_activation,
        "kernel_initializer": keras.initializers.VarianceScaling(
            1.0, mode="fan_in", distribution="untruncated_normal"
        ),
        "dtype": arguments.dtype,
        "name": "feed_forward",
    }
    if router is None:
        return FeedForward(arguments.intermediate_dim, **shared)
    return SparseMoE(
        arguments.num_experts,
        arguments.intermediate_dim,
        arguments.top_k,
        router=router,
        output_dropout=arguments.expert_dropout,
        **shared,
    )
