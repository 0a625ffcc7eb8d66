"""Padding is cut off where it enters."""

from keras import ops


def zero_padding(values, padding_mask):
    """Put zeros where there is padding, before anything is computed of it.

    Whatever stands there, NaN or infinity, then reaches neither an output nor
    a gradient. Masking the results would leave the gradients to 0 * NaN.

    Args:
        values: tensor of shape (..., X).
        padding_mask: optional bool tensor of shape (...), True = real token.

    Returns:
        Tensor of the shape and dtype of `values`.

    Example:

    >>> import numpy as np
    >>> values = np.array([[1.0], [np.nan]], "float32")
    >>> np.array(zero_padding(values, np.array([True, False]))).tolist()
    [[1.0], [0.0]]
    """
    if padding_mask is None:
        return values
    padding_mask = ops.cast(padding_mask, "bool")
    return ops.where(padding_mask[..., None], values, 0)
