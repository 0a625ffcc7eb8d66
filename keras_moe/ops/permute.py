"""Tokens to rows sorted by expert, and back.

Both directions and both gradients are gathers: the permutation and its
inverse are known, so nothing needs the scatter-add that automatic
differentiation of a gather would use (slow on CPU, unordered on GPU).
"""

from keras import ops

from keras_moe.ops.gradients import custom_vjp


def gather_rows(tokens, order, inverse):
    """Copy each token to the rows of its K choices, sorted by expert.

    Args:
        tokens: float tensor of shape (T, H).
        order: int32 tensor of shape (R,): row r holds the (token, choice)
            pair `order[r]`, where pair t * K + k is choice k of token t.
        inverse: int32 tensor of shape (T, K): the row of each pair.

    Returns:
        Tensor of shape (R, H), of the dtype of `tokens`.

    Example:

    >>> import numpy as np
    >>> tokens = np.array([[1.0], [2.0]], "float32")
    >>> order = np.array([1, 0], "int32")
    >>> rows = gather_rows(tokens, order, order[:, None])
    >>> np.array(rows).tolist()
    [[2.0], [1.0]]
    """
    tokens, order, inverse = _to_tensors(tokens, order, inverse)
    return _gather_rows((tokens,), (order, inverse))


def combine_rows(rows, weights, order, inverse):
    """Add up each token's rows, weighted: the inverse of `gather_rows`.

    Args:
        rows: float tensor of shape (R, H).
        weights: float tensor of shape (T, K).
        order: int32 tensor of shape (R,), as for `gather_rows`.
        inverse: int32 tensor of shape (T, K), as for `gather_rows`.

    Returns:
        Tensor of shape (T, H), of the dtype of `rows`; the sum over the K
        choices is taken in the wider of both dtypes.

    Example:

    >>> import numpy as np
    >>> rows = np.array([[2.0], [1.0]], "float32")
    >>> order = np.array([1, 0], "int32")
    >>> weights = np.array([[0.5], [3.0]], "float32")
    >>> np.array(combine_rows(rows, weights, order, order[:, None])).tolist()
    [[0.5], [6.0]]
    """
    rows, weights, order, inverse = _to_tensors(rows, weights, order, inverse)
    return _combine_rows((rows, weights), (order, inverse))


def _to_tensors(*arrays):
    return [ops.convert_to_tensor(array) for array in arrays]


def _gather(tokens, order, inverse):
    return ops.take(tokens, order // inverse.shape[1], axis=0)


def _gather_gradient(tokens, order, inverse, cotangent):
    top_k = inverse.shape[1]
    gradient = ops.take(cotangent, inverse[:, 0], axis=0)
    for choice in range(1, top_k):
        gradient = gradient + ops.take(cotangent, inverse[:, choice], axis=0)
    return (gradient,)


def _combine(rows, weights, order, inverse):
    outputs = 0.0
    for choice in range(inverse.shape[1]):
        chosen = ops.take(rows, inverse[:, choice], axis=0)  # (T, H)
        outputs = outputs + ops.multiply(weights[:, choice, None], chosen)
    return ops.cast(outputs, rows.dtype)


def _combine_gradient(rows, weights, order, inverse, cotangent):
    top_k = inverse.shape[1]
    per_row = ops.take(ops.reshape(weights, (-1,)), order)[:, None]  # (R, 1)
    from_token = ops.take(cotangent, order // top_k, axis=0)  # (R, H)
    rows_gradient = ops.cast(ops.multiply(per_row, from_token), rows.dtype)
    # The product of two half-precision numbers may overflow, hence the cast.
    products = ops.multiply(ops.cast(rows, weights.dtype), from_token)
    per_pair = ops.sum(products, axis=-1)
    weights_gradient = ops.take(per_pair, inverse)  # (R,) -> (T, K)
    return rows_gradient, weights_gradient


_gather_rows = custom_vjp(_gather, _gather_gradient)
_combine_rows = custom_vjp(_combine, _combine_gradient)
