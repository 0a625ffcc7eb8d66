"""Weights of E experts made of the weights of others."""

import numpy as np
from keras import ops

from keras_moe.surgery.rebuild import check_can_change
from keras_moe.surgery.rebuild import copy_layer


def mix_experts(old, new, mixture):
    """Fill a sparse layer with weighted sums of another's experts.

    A row of the matrix says of which experts a new one is made: a single 1
    copies an expert, with its column of the router and its selection bias.

    Args:
        old: built `SparseMoE`.
        new: built `SparseMoE` with another number of experts, alike else.
        mixture: float array (E of `new`, E of `old`), without the experts
            that compute nothing.

    Raises:
        ValueError: If `old` is quantized or frozen, or its router has no
            weights for each expert.

    Example:

    >>> from keras_moe.layers import SparseMoE
    >>> old, new = SparseMoE(2, 8), SparseMoE(3, 8)
    >>> old.build((None, 4)), new.build((None, 4))
    (None, None)
    >>> mix_experts(old, new, np.array([[1, 0], [0, 1], [0, 1]]))
    >>> kernel = ops.convert_to_numpy(new.experts.down.kernel)
    >>> bool(np.all(kernel[1] == kernel[2]))
    True
    """
    check_can_change(old)
    free = np.eye(old.router.num_free_experts)
    with_free = np.block(
        [
            [mixture, np.zeros((len(mixture), len(free)))],
            [np.zeros((len(free), mixture.shape[1])), free],
        ]
    )
    for pair in zip(old.experts.weights, new.experts.weights, strict=True):
        mix_variable(*pair, mixture)
    mix_router(old.router, new.router, with_free)
    copy_layer(old.shared_experts, new.shared_experts)


def mix_router(old, new, mixture):
    """Fill a router with weighted sums of another's columns.

    Args:
        old: built `keras_moe.layers.Router`.
        new: router of the same class with another number of experts. It may
            have a bias that `old` has not, which stays as it is.
        mixture: float array (E of `new`, E of `old`).

    Raises:
        ValueError: If the router has no weights for each expert.

    Example:

    >>> from keras_moe.layers import TopKRouter
    >>> old, new = TopKRouter(2), TopKRouter(4)
    >>> old.build((None, 3)), new.build((None, 3))
    (None, None)
    >>> mix_router(old, new, np.repeat(np.eye(2), 2, axis=0))
    >>> kernel = ops.convert_to_numpy(new.kernel)
    >>> bool(np.all(kernel[:, 0] == kernel[:, 1]))
    True
    """
    mixed = [
        mix_variable(one, other, mixture)
        for one, other in pair_router_weights(old, new)
    ]
    if not any(mixed):
        raise ValueError(
            "Expected a router with weights for each expert. Received: "
            f"{type(old).__name__}, which has none. Use a router that learns, "
            "such as `TopKRouter`."
        )


def pair_router_weights(old, new):
    """Pair the weights of two routers of different numbers of experts.

    Args:
        old: built `keras_moe.layers.Router`.
        new: router of the same class, which may have a bias that `old` lacks.

    Returns:
        list of pairs of `keras.Variable`, without that bias.

    Example:

    >>> from keras_moe.layers import TopKRouter
    >>> old, new = TopKRouter(2), TopKRouter(4, use_bias=True)
    >>> old.build((None, 3)), new.build((None, 3))
    (None, None)
    >>> [each.name for each, _ in pair_router_weights(old, new)]
    ['kernel']
    """
    new_bias = None
    if not getattr(old, "use_bias", True):
        new_bias = getattr(new, "bias", None)
    weights = [each for each in new.weights if each is not new_bias]
    return [*zip(old.weights, weights, strict=True)]


def mix_variable(old, new, mixture):
    """Fill a variable with weighted sums along the axis of the experts.

    Args:
        old: `keras.Variable`.
        new: `keras.Variable` of the same shape, or of one that differs in
            the axis of the experts.
        mixture: float array (E of `new`, E of `old`).

    Returns:
        bool, whether there is such an axis; without, the values are copied.

    Raises:
        ValueError: If the shapes differ in another way.

    Example:

    >>> import keras
    >>> old = keras.Variable([[1.0, 2.0]])
    >>> new = keras.Variable([[0.0, 0.0, 0.0]])
    >>> mix_variable(old, new, np.array([[1, 0], [0, 1], [0.5, 0.5]]))
    True
    >>> ops.convert_to_numpy(new).tolist()
    [[1.0, 2.0, 1.5]]
    """
    axis = expert_axis(old, new, mixture.shape)
    if axis is None:
        # A copy: JAX gives the memory of variables away when it trains.
        new.assign(np.array(ops.convert_to_numpy(old)))
        return False
    values = ops.convert_to_numpy(old)
    values = values.astype(np.promote_types(values.dtype, "float32"))
    values = np.moveaxis(values, axis, 0)
    values = np.tensordot(mixture.astype(values.dtype), values, axes=1)
    new.assign(np.moveaxis(values, 0, axis))
    return True


def expert_axis(old, new, sizes):
    """Find the axis of the experts in a variable.

    Args:
        old: `keras.Variable`.
        new: `keras.Variable` of the same layer with other experts.
        sizes: pair of ints, the numbers of experts of `new` and `old`.

    Returns:
        int; `None` if both have the same shape.

    Raises:
        ValueError: If the shapes differ in another way.

    Example:

    >>> import keras
    >>> old, new = keras.Variable([[1.0, 2.0]]), keras.Variable([[1.0] * 3])
    >>> expert_axis(old, new, (3, 2))
    1
    """
    pairs = [*zip(new.shape, old.shape, strict=True)]
    axes = [axis for axis, (a, b) in enumerate(pairs) if a != b]
    if not axes:
        return None
    if [pairs[axis] for axis in axes] != [tuple(sizes)]:
        raise ValueError(
            "Expected weights with one axis for the experts. Received: "
            f"{old.path} of shape {tuple(old.shape)}, and "
            f"{tuple(new.shape)} with {sizes[0]} experts. Use a "
            "router whose weights have a column for each expert."
        )
    return axes[0]
