"""Average sequences of different lengths."""

from keras import ops


def mean_over_tokens(inputs, padding_mask):
    """Average over real tokens, in float32.

    Args:
        inputs: float tensor of shape (B, L, H).
        padding_mask: bool or int tensor of shape (B, L), True = real token.

    Returns:
        float32 tensor of shape (B, H); 0 for a row without a token.

    Example:

    >>> import numpy as np
    >>> inputs = np.array([[[1.0], [3.0], [9.0]]], "float32")
    >>> mask = np.array([[True, True, False]])
    >>> float(mean_over_tokens(inputs, mask)[0, 0])
    2.0
    """
    is_real = ops.expand_dims(ops.cast(padding_mask, "bool"), -1)
    total = ops.sum(
        ops.where(is_real, ops.cast(inputs, "float32"), 0.0), axis=1
    )
    number = ops.sum(ops.cast(is_real, "float32"), axis=1)
    return total / ops.maximum(number, 1.0)
