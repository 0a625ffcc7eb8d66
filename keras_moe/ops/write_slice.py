"""Write a stretch of one axis."""

from keras import ops

from keras_moe.ops.backend import load_or
from keras_moe.ops.write_rows import write_rows

_own = load_or("write_slice", None)


def write_slice(inputs, updates, start, axis):
    """Write one tensor into another, from a position of one axis on.

    `keras.ops.slice_update` takes a start for every axis. With a tensor among
    them it makes, on PyTorch, an index of every number that it writes.

    Args:
        inputs: tensor of any shape.
        updates: tensor of that shape but for `axis`, where it is shorter.
        start: int or scalar tensor, the first position to write; or one for
            each row, int32 of shape (B,), B the length of axis 0, as for
            `write_rows`.
        axis: int, not negative.

    Returns:
        Tensor of the shape and dtype of `inputs`, which stays as it is. With
        one start no gradient on TensorFlow, as of `keras.ops.slice_update`.

    Example:

    >>> import numpy as np
    >>> inputs, updates = np.zeros(4, "float32"), np.ones(2, "float32")
    >>> np.array(write_slice(inputs, updates, start=1, axis=0)).tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    inputs = ops.convert_to_tensor(inputs)
    updates = ops.cast(updates, inputs.dtype)
    if len(getattr(start, "shape", ())):
        return write_rows(inputs, updates, start, axis)
    if _own is not None:
        return _own.write_slice(inputs, updates, start, axis)
    starts = [0] * len(inputs.shape)
    starts[axis] = start
    return ops.slice_update(inputs, starts, updates)
