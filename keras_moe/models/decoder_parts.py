"""The layers of decoders, made from an architecture's arguments."""

import keras

from keras_moe.blocks.grouped_query_attention import GroupedQueryAttention
from keras_moe.layers.feed_forward import FeedForward
from keras_moe.layers.shared_expert_moe import SharedExpertMoE
from keras_moe.layers.sparse_moe import SparseMoE
from keras_moe.layers.top_k_router import TopKRouter


def kernel_initializer():
    """Return a new initializer for kernels and embeddings.

    Returns:
        Normal with standard deviation 0.02, the published models' choice.
    """
    return keras.initializers.RandomNormal(stddev=0.02)


# Arguments of the backbone that the attention has under the same name.
OF_ATTENTION = (
    "clip_query_key_value",
    "head_dim",
    "layer_norm_epsilon",
    "rope_max_wavelength",
    "rope_scaling_factor",
    "sliding_window",
)


def make_attention(arguments, **quirks):
    """Make a layer's grouped-query attention.

    Args:
        arguments: of the backbone; those that the attention has too are
            passed on, and `use_attention_bias` is for all four projections.
        **quirks: further arguments of `GroupedQueryAttention`.

    Returns:
        `GroupedQueryAttention`.
    """
    shared = {
        name: getattr(arguments, name)
        for name in OF_ATTENTION
        if hasattr(arguments, name)
    }
    if getattr(arguments, "use_attention_bias", False):
        shared.update(use_query_key_value_bias=True, use_output_bias=True)
    return GroupedQueryAttention(
        arguments.num_query_heads,
        arguments.num_key_value_heads,
        **{**shared, **quirks},
        kernel_initializer=kernel_initializer(),
        dtype=arguments.dtype,
        name="attention",
    )


def make_dense(arguments, activation="silu", name="feed_forward"):
    """Make a layer's dense gated part.

    Args:
        arguments: of the backbone; `dense_intermediate_dim` is its width, or
            `intermediate_dim` where it is none.
        activation: of the gate.
        name: of the layer.

    Returns:
        `FeedForward`.
    """
    width = getattr(arguments, "dense_intermediate_dim", None)
    return FeedForward(
        width or arguments.intermediate_dim,
        activation,
        kernel_initializer=kernel_initializer(),
        dtype=arguments.dtype,
        name=name,
    )


def make_top_k_router(arguments, **settings):
    """Make a decoder family's own router.

    Args:
        arguments: of the backbone.
        **settings: further arguments of `TopKRouter`.

    Returns:
        `TopKRouter`.
    """
    return TopKRouter(
        arguments.num_experts,
        arguments.top_k,
        **settings,
        kernel_initializer=kernel_initializer(),
        name="router",
    )


def make_sparse(
    arguments, router, layer_class=SparseMoE, name="sparse_moe", **quirks
):
    """Make a layer's sparse part.

    Args:
        arguments: of the backbone.
        router: `Router`, not built.
        layer_class: `SparseMoE` or `SharedExpertMoE`.
        name: of the layer.
        **quirks: further arguments of `layer_class`.

    Returns:
        A `layer_class`.
    """
    return layer_class(
        arguments.num_experts,
        arguments.intermediate_dim,
        arguments.top_k,
        router=router,
        **quirks,
        kernel_initializer=kernel_initializer(),
        dtype=arguments.dtype,
        name=name,
    )


def make_shared_expert(arguments, router, **quirks):
    """Make a layer's sparse part with shared experts.

    Args:
        arguments: of the backbone.
        router: `Router`, not built.
        **quirks: further arguments of `SharedExpertMoE`.

    Returns:
        `SharedExpertMoE`.
    """
    return make_sparse(
        arguments, router, SharedExpertMoE, "shared_expert_moe", **quirks
    )
