"""Which feed-forward layer a block of the Switch Transformer gets."""

import keras

from keras_moe.layers import FeedForward
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter


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


def create_feed_forward(
    sparse,
    intermediate_dim,
    activation,
    gated,
    num_experts,
    top_k,
    capacity_factor,
    eval_capacity_factor,
    expert_capacity,
    jitter_noise,
    load_balancing_loss_weight,
    router_z_loss_weight,
    dtype,
):
    """Create a dense or sparse feed-forward layer with T5's initialization.

    Kernels start with a standard deviation of fan_in ** -0.5
    (https://arxiv.org/abs/2101.03961, section 2.4, with scale 1).

    Args:
        sparse: bool, whether the layer has experts. The arguments after
            `gated` are for that case; see `SwitchBackbone`.
        intermediate_dim: int I.
        activation: name or function.
        gated: bool.
        num_experts: int E.
        top_k: int K.
        capacity_factor: optional float.
        eval_capacity_factor: optional float.
        expert_capacity: optional int.
        jitter_noise: float.
        load_balancing_loss_weight: float.
        router_z_loss_weight: float.
        dtype: dtype or dtype policy.

    Returns:
        `FeedForward` or `SparseMoE`.
    """
    shared = {
        "activation": activation,
        "gated": gated,
        "kernel_initializer": keras.initializers.VarianceScaling(
            1.0, mode="fan_in", distribution="untruncated_normal"
        ),
        "dtype": dtype,
        "name": "feed_forward",
    }
    if not sparse:
        return FeedForward(intermediate_dim, **shared)
    router = TopKRouter(
        num_experts,
        top_k,
        jitter_noise=jitter_noise,
        load_balancing_loss_weight=load_balancing_loss_weight,
        router_z_loss_weight=router_z_loss_weight,
        name="router",
    )
    return SparseMoE(
        num_experts,
        intermediate_dim,
        top_k,
        router=router,
        capacity_factor=capacity_factor,
        eval_capacity_factor=eval_capacity_factor,
        expert_capacity=expert_capacity,
        **shared,
    )
