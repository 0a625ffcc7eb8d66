"""Means over the real tokens of a batch, or of each sequence."""

from keras import ops

from keras_moe.ops.replicas import sum_over_batch


def num_real_tokens(padding_mask, per_sequence=False):
    """Count the real tokens, at least 1 so that it can be divided by.

    Args:
        padding_mask: bool tensor of any shape, True = real token.
        per_sequence: bool, whether each row of the batch is counted alone.

    Returns:
        float32 scalar, or tensor of shape (G,).

    Example:

    >>> import numpy as np
    >>> float(num_real_tokens(np.array([True, True, False])))
    2.0
    """
    return ops.maximum(_count(padding_mask, per_sequence), 1.0)


def mean_over_tokens(values, padding_mask, per_sequence=False):
    """Average over the real tokens; 0 if there is none.

    In a balancing rule or a statistic, the mean is over the tokens of all
    replicas (`torch.distributed`, `tf.distribute`).

    Args:
        values: float32 tensor of shape (..., X) or (...).
        padding_mask: bool tensor of shape (...), True = real token.
        per_sequence: bool, whether each row of the batch is averaged alone.

    Returns:
        float32 tensor of shape (X,), or a scalar; with a leading G if
        `per_sequence`.

    Example:

    >>> import numpy as np
    >>> mask = np.array([True, True, False])
    >>> float(mean_over_tokens(np.array([1, 3, 9], "float32"), mask))
    2.0
    """
    token_axes = _token_axes(padding_mask, per_sequence)
    number = _count(padding_mask, per_sequence)
    padding_mask = ops.cast(padding_mask, "bool")
    if len(values.shape) > len(padding_mask.shape):
        padding_mask = padding_mask[..., None]
        number = number[..., None] if per_sequence else number
    total = ops.sum(ops.where(padding_mask, values, 0.0), token_axes)
    if not per_sequence:
        total, number = sum_over_batch(total, number)
    return total / ops.maximum(number, 1.0)


def mean_over_sequences(values, padding_mask):
    """Average over the rows of the batch that have a real token.

    Args:
        values: float32 tensor of shape (G,), or a scalar, which is returned.
        padding_mask: bool tensor of shape (G, ...), True = real token.

    Returns:
        float32 scalar; 0 if there is no real token.

    Example:

    >>> import numpy as np
    >>> mask = np.array([[True, True], [True, False], [False, False]])
    >>> float(mean_over_sequences(np.float32([1, 3, 9]), mask))
    2.0
    """
    if not len(values.shape):
        return values
    has_token = ops.any(
        ops.cast(padding_mask, "bool"), _token_axes(padding_mask, True)
    )
    return mean_over_tokens(values, has_token)


def _count(padding_mask, per_sequence):
    real = ops.cast(padding_mask, "float32")
    return ops.sum(real, _token_axes(real, per_sequence))


def _token_axes(values, per_sequence):
    return tuple(range(int(per_sequence), len(values.shape)))
