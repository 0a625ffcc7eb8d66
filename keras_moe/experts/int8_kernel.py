"""Stacked kernels as 8-bit integers with a scale for each output."""

import keras
from keras import ops


def to_int8(kernel):
    """Round each expert's kernel to 255 steps of each output's largest number.

    Weights alone are rounded, symmetrically and per output channel, as
    `keras.layers.Dense.quantize("int8")` rounds them.

    Args:
        kernel: float array or tensor of shape (E, H, F).

    Returns:
        int8 array of shape (E, H, F), and a float32 array of shape (E, F)
        that it is divided by.

    Example:

    >>> import numpy as np
    >>> kernel = np.array([[[1.0], [-0.5]]], "float32")
    >>> values, scale = to_int8(kernel)
    >>> values.ravel().tolist()
    [127, -64]
    """
    values, scale = keras.quantizers.abs_max_quantize(
        ops.convert_to_numpy(kernel), axis=1, to_numpy=True
    )
    values, scale = ops.convert_to_numpy(values), ops.convert_to_numpy(scale)
    return values, scale[:, 0].astype("float32")


def from_int8(values, scale):
    """Return the kernel that integers stand for.

    Args:
        values: int8 tensor of shape (E, H, F).
        scale: float tensor of shape (E, F).

    Returns:
        Tensor of shape (E, H, F), of the dtype of `scale`.

    Example:

    >>> import numpy as np
    >>> values = np.array([[[127], [-64]]], "int8")
    >>> kernel = from_int8(values, np.array([[127.0]], "float32"))
    >>> np.array(kernel).ravel().round(2).tolist()
    [1.0, -0.5]
    """
    scale = ops.convert_to_tensor(scale)
    return ops.cast(values, scale.dtype) / scale[:, None]
