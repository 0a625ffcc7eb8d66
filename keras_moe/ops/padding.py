"""Padding is cut off where it enters."""

from keras import backend
from keras import ops

# Products of two such numbers, and sums of some of these, are finite.
LARGEST = 2.0**60
LARGEST_FLOAT16 = 2.0**4


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
    # Not `padding_mask[..., None]`, which LiteRT lacks for open sizes.
    return ops.where(ops.expand_dims(padding_mask, -1), values, 0)


def clean_padding(values, padding_mask):
    """Put zeros where padding is NaN, infinite or so large that it overflows.

    Ordinary numbers stay, so a layer gives padding what published
    implementations give it. They reach nothing else: their gradient is 0,
    and 0 times a number that is not too large is 0.

    Args:
        values: float tensor of shape (..., X).
        padding_mask: optional bool tensor of shape (...), True = real token.

    Returns:
        Tensor of the shape and dtype of `values`.

    Example:

    >>> import numpy as np
    >>> values = np.array([[np.inf], [5.0], [np.nan]], "float32")
    >>> mask = np.array([True, False, False])
    >>> np.array(clean_padding(values, mask)).tolist()
    [[inf], [5.0], [0.0]]
    """
    if padding_mask is None:
        return values
    padding_mask = ops.expand_dims(ops.cast(padding_mask, "bool"), -1)
    dtype = backend.standardize_dtype(values.dtype)
    ordinary = ops.abs(values) <= (
        LARGEST_FLOAT16 if dtype == "float16" else LARGEST
    )
    return ops.where(ops.logical_or(padding_mask, ordinary), values, 0)
