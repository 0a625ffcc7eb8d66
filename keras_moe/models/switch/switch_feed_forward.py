"""Which feed-forward layer a block of the Switch Transformer gets."""

import keras

from keras_moe.layers import FeedForward
from keras_moe.layers import SparseMoE


def is_sparse_block(index, expert_layer_stride, expert_layer_offset=1):
    """Tell whether block `index` holds experts.

    With a stride of 2 the published models have experts in blocks 1, 3, 5;
    with a stride of 1 in all blocks.

    Args:
        index: int, position of the block in its stack, from 0.
        expert_layer_stride: int, every n-th block is sparse.
        expert_layer_offset: int, the first of them; 1 in Switch, the stride
            less 1 in ST-MoE.

    Returns:
        bool.

    Example:

    >>> [is_sparse_block(index, 3) for index in range(6)]
    [False, True, False, False, True, False]
    """
    stride = expert_layer_stride
    return index % stride == expert_layer_offset % stride


def create_feed_forward(arguments, router, dtype):
    """Create the dense or sparse feed-forward layer of one block.

    Kernels start with a standard deviation of fan_in ** -0.5
    (https://arxiv.org/abs/2101.03961, section 2.4, with scale 1).

    Args:
        arguments: dict, those of `SwitchBackbone`.
        router: optional `Router`, not built; `None` for a dense layer.
        dtype: dtype or dtype policy.

    Returns:
        `FeedForward` or `SparseMoE`.
    """
    shared = {
        "activation": arguments["activation"],
        "gated": arguments["use_gated_activation"],
        "kernel_initializer": keras.initializers.VarianceScaling(
            1.0, mode="fan_in", distribution="untruncated_normal"
        ),
        "dtype": dtype,
        "name": "feed_forward",
    }
    if router is None:
        return FeedForward(arguments["intermediate_dim"], **shared)
    return SparseMoE(
        arguments["num_experts"],
        arguments["intermediate_dim"],
        arguments["top_k"],
        router=router,
        **shared,
    )
