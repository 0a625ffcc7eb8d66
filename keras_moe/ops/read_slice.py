"""Read a stretch of one axis."""

import numpy as np
from keras import ops

from keras_moe.ops.backend import load_or

_own = load_or("read_slice", None)


def read_slice(inputs, start, length, axis=0):
    """Read a stretch of one axis from a start that may be a tensor.

    The twin of `write_slice`. Neither `keras.ops.slice` nor an index in
    brackets does where TensorFlow compiles with XLA: there a start must be
    constant, and the program is compiled anew for every batch.

    Args:
        inputs: tensor of any shape.
        start: int or int32 scalar tensor, the first position to read.
        length: int, how many positions to read; they must exist.
        axis: int, not negative.

    Returns:
        Tensor of the shape of `inputs`, with `axis` of that length.

    Example:

    >>> import numpy as np
    >>> inputs = np.array([1.0, 2.0, 3.0])
    >>> np.array(read_slice(inputs, start=1, length=2)).tolist()
    [2.0, 3.0]
    """
    inputs = ops.convert_to_tensor(inputs)
    if _own is not None:
        return _own.read_slice(inputs, start, length, axis)
    # JAX takes positions of one dtype, and in its 64-bit mode a 0 is int64.
    starts = [np.int32(0)] * len(inputs.shape)
    starts[axis] = start
    sizes = list(ops.shape(inputs))
    sizes[axis] = length
    return ops.slice(inputs, starts, sizes)
