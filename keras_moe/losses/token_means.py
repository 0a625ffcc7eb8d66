"""Means over the real tokens of a batch."""

from keras import ops


def num_real_tokens(padding_mask):
    """Count the real tokens, at least 1 so that it can be divided by.

    Args:
        padding_mask: bool tensor of any shape, True = real token.

    Returns:
        float32 scalar.

    Example:

    >>> import numpy as np
    >>> float(num_real_tokens(np.array([True, True, False])))
    2.0
    """
    return ops.maximum(ops.sum(ops.cast(padding_mask, "float32")), 1.0)


def mean_over_tokens(values, padding_mask):
    """Average over the real tokens; 0 if there is none.

    Args:
        values: float32 tensor of shape (..., X) or (...).
        padding_mask: bool tensor of shape (...), True = real token.

    Returns:
        float32 tensor of shape (X,), or a scalar.

    Example:

    >>> import numpy as np
    >>> mask = np.array([True, True, False])
    >>> float(mean_over_tokens(np.array([1, 3, 9], "float32"), mask))
    2.0
    """
    token_axes = tuple(range(len(padding_mask.shape)))
    total = num_real_tokens(padding_mask)
    padding_mask = ops.cast(padding_mask, "bool")
    if len(values.shape) > len(padding_mask.shape):
        padding_mask = padding_mask[..., None]
    return ops.sum(ops.where(padding_mask, values, 0.0), token_axes) / total
