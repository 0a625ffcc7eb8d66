"""Copies of tokens and sums over rows, as any compiler fuses them."""

from keras import ops

from keras_moe.ops.widen import result_dtype


def copy_rows(tokens, index):
    """Copy the tokens of an index, one row each.

    Args:
        tokens: float tensor of shape (T, H).
        index: int32 tensor of shape (R,).

    Returns:
        Tensor of shape (R, H).

    Example:

    >>> import numpy as np
    >>> tokens = np.array([[1.0], [2.0]], "float32")
    >>> np.array(copy_rows(tokens, np.array([1, 1], "int32"))).tolist()
    [[2.0], [2.0]]
    """
    return ops.take(tokens, index, axis=0)


def sum_rows(rows, inverse):
    """Add up the K rows of each token.

    Args:
        rows: float tensor of shape (R, H).
        inverse: int32 tensor of shape (T, K): the rows of each token.

    Returns:
        Tensor of shape (T, H), of the dtype of `rows`.

    Example:

    >>> import numpy as np
    >>> rows = np.array([[1.0], [2.0]], "float32")
    >>> np.array(sum_rows(rows, np.array([[0, 1]], "int32"))).tolist()
    [[3.0]]
    """
    total = ops.take(rows, inverse[:, 0], axis=0)
    for choice in range(1, inverse.shape[1]):
        total = total + ops.take(rows, inverse[:, choice], axis=0)
    return total


def sum_weighted_rows(rows, weights, inverse):
    """Add up the K rows of each token, weighted.

    Args:
        rows: float tensor of shape (R, H).
        weights: float tensor of shape (T, K).
        inverse: int32 tensor of shape (T, K): the rows of each token.

    Returns:
        Tensor of shape (T, H), of the dtype of `rows`; summed in the wider
        of both dtypes.

    Example:

    >>> import numpy as np
    >>> rows = np.array([[1.0], [2.0]], "float32")
    >>> weights = np.array([[0.5, 2.0]], "float32")
    >>> inverse = np.array([[0, 1]], "int32")
    >>> np.array(sum_weighted_rows(rows, weights, inverse)).tolist()
    [[4.5]]
    """
    dtype = result_dtype(rows.dtype, weights.dtype)
    weights = ops.cast(weights, dtype)
    total = 0.0
    for choice in range(inverse.shape[1]):
        chosen = ops.take(rows, inverse[:, choice], axis=0)  # (T, H)
        total = total + weights[:, choice, None] * ops.cast(chosen, dtype)
    return ops.cast(total, rows.dtype)


def sum_weighted_rows_gradient(rows, weights, order, inverse, cotangent):
    """Differentiate `sum_weighted_rows`.

    Args:
        rows: float tensor of shape (R, H).
        weights: float tensor of shape (T, K).
        order: int32 tensor of shape (R,): the pair t * K + k of each row.
        inverse: int32 tensor of shape (T, K): the rows of each token.
        cotangent: float tensor of shape (T, H).

    Returns:
        The gradients for `rows` and for `weights`, of their dtypes.

    Example:

    >>> import numpy as np
    >>> rows = np.array([[1.0], [2.0]], "float32")
    >>> weights = np.array([[0.5, 2.0]], "float32")
    >>> order = np.array([0, 1], "int32")
    >>> for_rows, for_weights = sum_weighted_rows_gradient(
    ...     rows, weights, order, order[None], np.array([[10.0]], "float32")
    ... )
    >>> np.array(for_rows).tolist(), np.array(for_weights).tolist()
    ([[5.0], [20.0]], [[10.0, 20.0]])
    """
    dtype = result_dtype(rows.dtype, weights.dtype)
    per_row = ops.take(ops.reshape(weights, (-1,)), order)[:, None]  # (R, 1)
    from_token = ops.take(cotangent, order // inverse.shape[1], axis=0)
    # The product of two half-precision numbers may overflow, hence the casts.
    from_token = ops.cast(from_token, dtype)
    for_rows = ops.cast(per_row, dtype) * from_token
    products = ops.cast(rows, dtype) * from_token
    for_weights = ops.take(ops.sum(products, axis=-1), inverse)  # (T, K)
    return ops.cast(for_rows, rows.dtype), ops.cast(for_weights, weights.dtype)
