"""Functions that bring their own gradient."""

from keras import ops

from keras_moe.ops.backend import load

_custom_vjp = load("custom_vjp")


def custom_vjp(forward, backward):
    """Pair a function with its hand-written gradient, on every backend.

    Args:
        forward: function of tensors, `forward(*differentiable, *constants)`,
            that returns one tensor.
        backward: function `backward(*differentiable, *constants, cotangent)`
            that returns one gradient for each differentiable tensor, cast
            to that tensor's dtype if it has another.

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

    def backward_in_their_dtypes(*arguments):
        # The cotangent may be wider than some of the tensors, and products
        # with it as well; no backend takes a gradient of another dtype.
        return [
            ops.cast(gradient, tensor.dtype)
            for gradient, tensor in zip(
                backward(*arguments), arguments, strict=False
            )
        ]

    return _custom_vjp.custom_vjp(forward, backward_in_their_dtypes)
