"""The layers of decoders, made from an architecture's arguments."""

import keras

from keras_moe.blocks.grouped_query_attention import GroupedQueryAttention
from keras_moe.layers.feed_forward import FeedForward
from keras_moe.layers.sparse_moe import SparseMoE
from keras_moe.layers.top_k_router import TopKRouter


def kernel_initializer():
    """Return a new initializer for kernels and embeddings.

    Returns:
        Normal with standard deviation 0.02, the published models' choice.
    """
    return keras.initializers.RandomNormal(stddev=0.02)


def make_attention(arguments, dtype, **quirks):
    """Make a layer's grouped-query attention.

    Args:
        arguments: dict, the backbone's arguments.
        dtype: optional dtype policy or its name.
        **quirks: further arguments of `GroupedQueryAttention`.

    Returns:
        `GroupedQueryAttention`.
    """
    return GroupedQueryAttention(
        arguments["num_query_heads"],
        arguments["num_key_value_heads"],
        arguments.get("head_dim"),
        rope_max_wavelength=arguments["rope_max_wavelength"],
        **quirks,
        kernel_initializer=kernel_initializer(),
        dtype=dtype,
        name="attention",
    )


def make_dense(intermediate_dim, dtype, activation="silu", name="feed_forward"):
    """Make a layer's dense gated part.

    Args:
        intermediate_dim: int I.
        dtype: optional dtype policy or its name.
        activation: of the gate.
        name: of the layer.

    Returns:
        `FeedForward`.
    """
    return FeedForward(
        intermediate_dim,
        activation,
        kernel_initializer=kernel_initializer(),
        dtype=dtype,
        name=name,
    )


def make_top_k_router(arguments, **settings):
    """Make a decoder family's own router.

    Args:
        arguments: dict, the backbone's arguments.
        **settings: further arguments of `TopKRouter`.

    Returns:
        `TopKRouter`.
    """
    return TopKRouter(
        arguments["num_experts"],
        arguments["top_k"],
        **settings,
        kernel_initializer=kernel_initializer(),
        name="router",
    )


def make_sparse(
    arguments,
    router,
    dtype,
    layer_class=SparseMoE,
    name="sparse_moe",
    **quirks,
):
    """Make a layer's sparse part.

    Args:
        arguments: dict, the backbone's arguments.
        router: `Router`, not built.
        dtype: optional dtype policy or its name.
        layer_class: `SparseMoE` or `SharedExpertMoE`.
        name: of the layer.
        **quirks: further arguments of `layer_class`.

    Returns:
        A `layer_class`.
    """
    return layer_class(
        arguments["num_experts"],
        arguments["intermediate_dim"],
        arguments["top_k"],
        router=router,
        **quirks,
        kernel_initializer=kernel_initializer(),
        dtype=dtype,
        name=name,
    )


def is_sparse(index, arguments):
    """Tell whether a layer has experts.

    Args:
        index: int, the layer's number, from 0.
        arguments: dict with `expert_layer_stride` n: layers n - 1, 2n - 1,
            ... are sparse; and optionally `dense_layers`, exceptions.

    Returns:
        bool.

    Example:

    >>> arguments = {"expert_layer_stride": 2, "dense_layers": [3]}
    >>> [is_sparse(index, arguments) for index in range(6)]
    [False, True, False, False, False, True]
    """
    exception = index in arguments.get("dense_layers", ())
    return not exception and (index + 1) % arguments["expert_layer_stride"] == 0
