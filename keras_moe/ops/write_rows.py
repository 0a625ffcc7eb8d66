"""Write a stretch of one axis, for each row at a place of its own."""

from keras import ops

from keras_moe.ops.backend import load
from keras_moe.ops.widen import int32

_own = load("write_rows")


def write_rows(inputs, updates, starts, axis):
    """Write one tensor into another, from a position for each row on.

    A compiled loop or a TensorFlow graph that goes on with the outputs reuses
    the memory of `inputs` and touches nothing but the positions written.

    Args:
        inputs: tensor of shape (B, ...).
        updates: tensor of that shape and dtype but for `axis`, where it is
            shorter.
        starts: int32 tensor of shape (B,), the first position to write; one
            from which `updates` does not fit counts as the last that it fits.
        axis: int, at least 1.

    Returns:
        Tensor of the shape and dtype of `inputs`, which stays as it is.

    Example:

    >>> import numpy as np
    >>> inputs, updates = np.zeros((2, 3)), np.ones((2, 1))
    >>> starts = np.array([0, 2], "int32")
    >>> np.array(write_rows(inputs, updates, starts, axis=1)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    inputs, updates = map(ops.convert_to_tensor, (inputs, updates))
    last = ops.shape(inputs)[axis] - ops.shape(updates)[axis]
    starts = ops.minimum(ops.cast(starts, "int32"), int32(last))
    return _own.write_rows(inputs, updates, starts, axis)
