"""Functions that bring their own gradient."""

from keras_moe.ops.backend import load

_custom_vjp = load("custom_vjp")


def custom_vjp(forward, backward):
    """Pair a function with its hand-written gradient, on every backend.

    Args:
        forward: function of tensors, `forward(*differentiable, *constants)`,
            that returns one tensor.
        backward: function `backward(*differentiable, *constants, cotangent)`
            that returns one gradient for each differentiable tensor.

    Returns:
        A function `apply(differentiable, constants)` of two tuples of
        tensors. Constants (indices, sizes) get no gradient.

    Example:

    >>> from keras import ops
    >>> square = custom_vjp(
    ...     lambda x: x * x, lambda x, cotangent: (2 * x * cotangent,)
    ... )
    >>> float(square((ops.convert_to_tensor(3.0),), ()))
    9.0
    """
    return _custom_vjp.custom_vjp(forward, backward)
